import { join } from 'node:path';
import { root } from '../structure/files.ts';

/** Arguments of Node before those of the command line, as a process whose sources are compiled on the way. */
export const mainArguments = [
  join(root, 'node_modules/jiti/lib/jiti-cli.mjs'),
  join(root, 'tests/support/mainProcess.ts'),
];
