import { METRICS } from '../../report/dictionary.ts';
import { formatTable } from '../../report/table.ts';
import { defineCommand } from '../command.ts';

export const metrics = defineCommand({
  description: 'explain every number of metrics.jsonl',
  args: {},
  async run(_, { stdout }) {
    const rows = METRICS.map(({ name, unit, over, filtering, meaning }) => [name, unit, over, filtering, meaning]);
    const heading = ['name', 'unit', 'over', 'filtering', 'what it says'];
    stdout.write(`${formatTable([heading, ...rows], { right: () => false })}\n`);
    return 0;
  },
});
