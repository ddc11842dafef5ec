// What a second thread brings: an update and sampling of a policy with one thread and with two, by turns, on idle cores and beside a thread that
// never rests. Wall time. Worth something only where nothing else runs; two virtual cores of one real core are no two.
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { native } from '../lib/runtime/native.ts';
import { median } from './support/benchKernel.ts';
import { forSizes } from './support/policyPeer.ts';
import { packSequences, promptOf, responseOf } from './support/sequences.ts';
import { updateOf } from './support/updateOf.ts';

const ROUNDS = 4;
const CALLS = 4;
export const variants = ['tiny', 'small'] as const;

export default async function threadsBench(sizes: ('tiny' | 'small')[]): Promise<void> {
  if (availableParallelism() < 2) return console.log('threads: there is one core');
  await forSizes(sizes, async ({ policy }, size) => {
    const sequences = Array.from({ length: 64 }, () => ({
      prompt: promptOf(policy, { visual: 16, text: 16 }),
      response: responseOf(policy, 32),
    }));
    const update = updateOf(policy, packSequences(policy, sequences), 32);
    const prompts = sequences.slice(0, 16).map(({ prompt }) => prompt);
    const sample = () => policy.generate(prompts, { n: 8, maxTokens: 32, seed: 1 });
    const hidden = policy.config.text.hidden;
    for (const [name, work] of [['update', update] as const, ['sampling', sample] as const]) {
      console.log(`${name} ${size} (hidden ${hidden}), idle: ${await compare(work)}`);
      const busy = new Worker('for (;;);', { eval: true });
      await once(busy, 'online');
      console.log(`${name} ${size} (hidden ${hidden}), a busy neighbour: ${await compare(work)}`);
      await busy.terminate();
    }
    update.dispose();
  });
}

/** Milliseconds with one thread and with two, of calls after one that warms up: a thread that has just begun has no scratch yet. */
async function compare(work: () => Promise<unknown>): Promise<string> {
  const times: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round++)
    for (const threads of [1, 2] as const) {
      native().setThreads(threads);
      await work();
      for (let call = 0; call < CALLS; call++) {
        const begin = performance.now();
        await work();
        times[threads - 1]!.push(performance.now() - begin);
      }
    }
  const of = (how: (x: number[]) => number) => {
    const [one, two] = times.map(how) as [number, number];
    return `${one.toFixed(0)} and ${two.toFixed(0)} ms (${(one / two).toFixed(2)}×)`;
  };
  return `one thread and two, best ${of((x) => Math.min(...x))}, median ${of(median)}`;
}
