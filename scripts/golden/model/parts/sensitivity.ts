import { boundsFor } from '../bounds.ts';
import type { Checks } from '../checks.ts';
import type { ModelFolder } from '../modelFolder.ts';

/** `cases/sensitivity.json`: how far mistakes move numbers, which must be further than what is let pass. */
export async function sensitivity(folder: ModelFolder, file: string, checks: Checks): Promise<void> {
  const golden = folder.json<Record<string, Record<string, { max_abs_logit: number; max_abs_logp: number }>>>(file);
  for (const [checkpoint, mistakes] of Object.entries(golden))
    await checks.run(checkpoint, (check) => {
      const { atol } = boundsFor(folder.config(checkpoint).text.hidden).value;
      for (const [mistake, moved] of Object.entries(mistakes))
        check.same(mistake, true, Math.max(moved.max_abs_logit, moved.max_abs_logp) > atol);
    });
}
