import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** A program that answers every line of JSON it reads with another. */
export interface LinePeer<Ready> {
  /** what it said when it had started */
  ready: Ready;
  ask<Answer>(question?: object): Promise<Answer>;
  close(): void;
}

/** Starts a program that says a line of JSON once it is ready. @throws Error  it ended, with the last lines of its errors */
export async function startLinePeer<Ready>(command: string, args: string[]): Promise<LinePeer<Ready>> {
  const child = spawn(command, args, { stdio: 'pipe' });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors = (errors + text).slice(-2000)));
  const ended = new Promise<never>((_, reject) => {
    child.on('error', reject);
    child.on('close', () => reject(new Error(`${command} ended:\n${errors}`)));
    child.stdin.on('error', () => undefined); // it is told by `close`
  });
  ended.catch(() => undefined); // it may end when nobody waits
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  async function next<T>(): Promise<T> {
    const line = await Promise.race([lines.next(), ended]);
    return JSON.parse(line.done ? await ended : line.value) as T;
  }
  return {
    ready: await next<Ready>(),
    ask(question = {}) {
      child.stdin.write(`${JSON.stringify(question)}\n`);
      return next();
    },
    close: () => child.stdin.end(),
  };
}
