#!/usr/bin/env node
import { writeSync } from 'node:fs';
import { environment } from '../runtime/env.ts';
import type { Command } from './command.ts';
import type { Failure } from '../runtime/errors.ts';
import { EXIT } from './exit.ts';
import { run } from './run.ts';

const stop = new AbortController();
let running: Command | undefined;

function end(message: string): void {
  if (stop.signal.aborted || !running?.stoppable) process.exit(EXIT.interrupted);
  process.stderr.write(`\ng2rpo: ${message}\n`);
  stop.abort();
}
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => end('stopping; once more to stop at once'));
// who started this process with a channel to itself is gone, and nobody waits for what it would do
const orphaned = () => void (stop.signal.aborted || end('stopping; the process that started this one is gone'));
process.on('disconnect', orphaned);
if (process.connected === false) orphaned(); // undefined where there never was one
// a reader that has seen enough (`g2rpo kernels | head`) is no failure
function unwritten(error: NodeJS.ErrnoException): never {
  if (error.code === 'EPIPE') process.exit(EXIT.ok);
  try {
    writeSync(2, `g2rpo: IO  what was printed could not be written: ${error.message}\n`);
  } catch {
    // then the exit code alone says so
  }
  process.exit(EXIT.failed);
}
for (const stream of [process.stdout, process.stderr]) stream.on('error', unwritten);

const { stdin, stdout, stderr } = process;
let failure: Failure | undefined;
const onFailure = (told: Failure) => (failure = told);
const io = { stdin, stdout, stderr, environment: environment(), signal: stop.signal, onFailure };
const code = await run(process.argv.slice(2), io, (command) => (running = command));
if (failure && process.connected) await new Promise((told) => process.send!(failure, told));
// what a failed command has left open must not keep the process; what was written must arrive
stdout.write('', (error) => {
  if (error || stdout.errored) unwritten((stdout.errored ?? error) as NodeJS.ErrnoException);
  stderr.write('', () => process.exit(code));
});
