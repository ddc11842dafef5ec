#!/usr/bin/env node
import { environment } from '../runtime/env.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit.ts';
import { run } from './run.ts';

const stop = new AbortController();
let running: Command | undefined;

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    if (stop.signal.aborted || !running?.stoppable) process.exit(EXIT.interrupted);
    process.stderr.write('\ng2rpo: stopping; once more to stop at once\n');
    stop.abort();
  });
// a reader that has seen enough (`g2rpo kernels | head`) is no failure
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.failed));

const { stdin, stdout, stderr } = process;
const io = { stdin, stdout, stderr, environment: environment(), signal: stop.signal };
const code = await run(process.argv.slice(2), io, (command) => (running = command));
// what a failed command has left open must not keep the process; what was written must arrive
stdout.write('', () => stderr.write('', () => process.exit(code)));
