import { loadDataset, loadDemonstrations } from '../../data/dataset.ts';
import { checkAnswer } from '../../rewards/index.ts';
import { formatTable } from '../../report/table.ts';
import { defineCommand } from '../command.ts';

export const dataCheck = defineCommand({
  description: 'read a dataset, name every bad row, count the others',
  args: {
    file: { type: 'positional', description: '.json or .jsonl, or a folder of them', required: true, multiple: true },
    'image-dir': {
      type: 'string',
      description: 'where paths of images and videos start; default beside the file',
      valueHint: 'DIR',
    },
    fps: { type: 'string', number: 'real', description: 'of videos whose rows do not say', valueHint: 'N' },
    'problem-type': { type: 'string', description: 'of rows that name none', valueHint: 'NAME' },
    'any-problem-type': { type: 'boolean', description: 'there is a reward of your own: any problem type will do' },
    demonstrations: {
      type: 'boolean',
      description: 'rows are to be learned from: demonstration or labels, not answer',
    },
    limit: {
      type: 'string',
      number: 'whole',
      description: 'how many bad rows to print',
      valueHint: 'N',
      default: '20',
    },
  },
  notes: 'Ends with code 1 if there is a bad row.',
  async run(values, { stdout }) {
    const any = values['any-problem-type'];
    const load = values.demonstrations ? loadDemonstrations : loadDataset;
    const { prompts, skipped } = load(values.file, {
      onBadRow: 'skip',
      ...(values['image-dir'] === undefined ? {} : { imageDir: values['image-dir'] }),
      ...(values.fps === undefined ? {} : { fps: values.fps }),
      ...(values['problem-type'] === undefined ? {} : { problemType: values['problem-type'] }),
      ...(any ? { problemTypes: 'any' as const } : values.demonstrations ? {} : { checkAnswer }),
    });
    const counts = new Map<string, number>();
    for (const { taskType, problemType } of prompts) {
      const key = JSON.stringify([taskType, problemType]);
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const rows = [...counts].sort().map(([key, count]) => [...(JSON.parse(key) as string[]), String(count)]);
    const table = formatTable([['task type', 'problem type', 'rows'], ...rows], { right: (column) => column === 2 });
    stdout.write(`${table}\n\n${prompts.length} good rows, ${skipped.length} bad\n`);
    for (const { reason } of skipped.slice(0, values.limit)) stdout.write(`${reason}\n`);
    const more = skipped.length - values.limit;
    if (more > 0) stdout.write(`… and ${more} more\n`);
    return skipped.length > 0 ? 1 : 0;
  },
});
