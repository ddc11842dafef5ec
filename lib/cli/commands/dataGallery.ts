import type { Task } from '../../data/gallery/index.ts';
import { formatTable } from '../../report/table.ts';
import { createTerminal } from '../../report/terminal.ts';
import { defineCommand } from '../command.ts';

export const dataGallery = defineCommand({
  description: 'draw a dataset of visual tasks',
  args: {
    out: { type: 'string', description: 'the folder to make', valueHint: 'DIR', required: true },
    train: { type: 'string', number: 'whole', description: 'rows to train on', valueHint: 'N', default: '2400' },
    validation: {
      type: 'string',
      number: 'whole',
      description: 'rows to validate with',
      valueHint: 'N',
      default: '1200',
    },
    demonstrations: {
      type: 'string',
      number: 'whole',
      description: 'pictures with demonstrations, in demonstrations.jsonl',
      valueHint: 'N',
      default: '0',
    },
    tasks: { type: 'string', description: 'some of the six tasks', valueHint: 'A,B' },
    'image-size': { type: 'string', number: 'whole', description: 'side in pixels', valueHint: 'N', default: '64' },
    'cell-size': {
      type: 'string',
      number: 'whole',
      description: 'side in pixels of what one visual token sees',
      valueHint: 'N',
      default: '16',
    },
    'image-last': { type: 'boolean', description: 'the picture stands after the question' },
    seed: {
      type: 'string',
      number: 'whole',
      description: 'other pictures for another seed',
      valueHint: 'N',
      default: '0',
    },
  },
  notes: 'The bytes depend on the options alone. The same gallery at the same place is made once.',
  stoppable: true,
  async run(values, { stdout, stderr, environment, signal }) {
    const { writeGallery } = await import('../../data/gallery/index.ts');
    const terminal = createTerminal(stderr, { color: environment.color });
    try {
      const { files, images } = await writeGallery({
        out: values.out,
        seed: values.seed,
        train: values.train,
        validation: values.validation,
        demonstrations: values.demonstrations === 0 ? {} : { demonstrations: { scenes: values.demonstrations } },
        ...(values.tasks === undefined ? {} : { tasks: values.tasks.split(',') as Task[] }),
        imageSize: values['image-size'],
        cellSize: values['cell-size'],
        imageLast: values['image-last'],
        onProgress: ({ file, done, total }) => terminal.status(`${file}: ${done} of ${total} pictures`, 10_000),
        signal,
      });
      terminal.close();
      const rows = Object.entries(files).map(([name, { rows }]) => [name, String(rows)]);
      stdout.write(`${formatTable([['file', 'rows'], ...rows, ['pictures', String(images)]])}\n`);
      return 0;
    } finally {
      terminal.close();
    }
  },
});
