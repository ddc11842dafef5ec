import { formatTable } from '../../report/table.ts';
import { examineMachine } from '../../runtime/machine.ts';
import { defineCommand } from '../command.ts';

export const doctor = defineCommand({
  description: 'say what this machine offers, and what is missing and why',
  args: {},
  async run(_, { stdout }) {
    const { healthy, findings } = await examineMachine();
    const rows = findings.map(({ topic, found }) => [topic, found]);
    stdout.write(`${formatTable([['', ''], ...rows], { right: () => false }).trimStart()}\n`);
    return healthy ? 0 : 1;
  },
});
