import { Readable } from 'node:stream';
import { run } from '../../lib/cli/run.ts';
import { environment } from '../../lib/runtime/env.ts';

/** Runs a command line and gathers what it writes. */
export async function g2rpo(raw: string[], { debug = 0, signal = new AbortController().signal, stdin = '' } = {}) {
  const out = { stdout: '', stderr: '' };
  const code = await run(raw, {
    stdin: Readable.from(stdin ? [Buffer.from(stdin)] : []),
    stdout: { write: (text) => (out.stdout += text) },
    stderr: { write: (text) => (out.stderr += text) },
    environment: { ...environment(), debug },
    signal,
  });
  return { code, ...out };
}
