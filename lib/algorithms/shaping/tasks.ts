import { z } from 'zod';
import { nearestName } from '../../runtime/errors.ts';
import { TASK_TYPES } from '../../types.ts';

const KNOWN = [...TASK_TYPES, 'other'];

/** Settings by task type. A name that is none is a mistake, not a task that never comes. */
export const taskBounds = <S extends z.ZodType>(bounds: S) =>
  z
    .record(z.string(), bounds)
    .default({})
    .superRefine((tasks, context) => {
      for (const task of Object.keys(tasks))
        if (!KNOWN.includes(task)) {
          const nearest = nearestName(task, KNOWN);
          context.addIssue({
            code: 'custom',
            path: [task],
            message: nearest ? `is no task type; did you mean ${nearest}?` : `must be a task type: ${KNOWN.join(', ')}`,
          });
        }
    });
