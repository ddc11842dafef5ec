import { formatTable } from '../../report/table.ts';
import { native } from '../../runtime/native.ts';
import { defineCommand } from '../command.ts';

/** Element types of the floating-point tensors of a signature. */
const typesIn = (signature: string): Set<string> => new Set(signature.match(/b?f\d+(?=[[|}])/g));

export const kernels = defineCommand({
  description: 'list the kernels that the addon was built with',
  args: {},
  async run(_, { stdout }) {
    const addon = native();
    const rows = new Map<string, { types: Set<string>; sets: Set<string> }>();
    for (const { name, backend, isa, signature } of addon.kernels()) {
      const key = JSON.stringify([name, backend]);
      const row = rows.get(key) ?? { types: typesIn(signature), sets: new Set<string>() };
      rows.set(key, { ...row, sets: row.sets.add(isa) });
    }
    const cells = [...rows].map(([key, { types, sets }]) => {
      const [name, backend] = JSON.parse(key) as [string, string];
      return [name, backend, [...types].sort().join(' '), [...sets].join(' ')];
    });
    cells.sort(([a], [b]) => (a! < b! ? -1 : 1));
    const table = formatTable([['kernel', 'backend', 'types', 'compiled for'], ...cells], { right: () => false });
    stdout.write(`${table}\n\nThis machine runs those for ${addon.hostIsa()}, where there are any.\n`);
    return 0;
  },
});
