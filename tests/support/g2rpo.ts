import { run } from '../../lib/cli/run.ts';
import { environment } from '../../lib/runtime/env.ts';

/** Runs a command line and gathers what it writes. */
export async function g2rpo(raw: string[], { debug = 0, signal = new AbortController().signal } = {}) {
  const out = { stdout: '', stderr: '' };
  const code = await run(raw, {
    stdout: { write: (text) => (out.stdout += text) },
    stderr: { write: (text) => (out.stderr += text) },
    environment: { ...environment(), debug },
    signal,
  });
  return { code, ...out };
}
