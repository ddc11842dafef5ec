// Advantages of a batch in ragged groups: what `advantages` takes, with everything on the way there; and of even ones beside torch.
import { advantages, ESTIMATORS, type AdvantageInput } from '../lib/index.ts';
import { native } from '../lib/runtime/native.ts';
import { kernelPeers } from './support/kernelPeers.ts';
import { inTurns, now, type Seconds } from './support/turns.ts';

/** Rewards, and how often they are compared; the first tenth of the runs warms up. */
const SIZES = [
  { B: 1e5, runs: 60 },
  { B: 1e6, runs: 10 },
  { B: 1e7, runs: 2 },
];
const [GROUPS, TASKS] = [2000, 13]; // per 1e5 rewards

/** Groups of 1 to 99 rollouts, in the order in which they were sampled; singletons are few. */
function batchOf(B: number) {
  const sizes = Array.from({ length: (GROUPS * B) / 1e5 }, (_, g) => 1 + ((g * 37) % 99));
  const total = sizes.reduce((a, b) => a + b, 0);
  const groups = new Int32Array(B);
  const tasks = new Int32Array(B);
  let row = 0;
  sizes.forEach((size, g) => {
    const end = g === sizes.length - 1 ? B : Math.min(B, row + Math.max(2, Math.round((size * B) / total)));
    for (; row < end; row++) [groups[row], tasks[row]] = [g, g % TASKS];
  });
  let seed = 1;
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const rewards = Float64Array.from({ length: B }, () => Math.round(random() * 20) / 20);
  const lengths = new Int32Array(B).fill(1);
  const components = { accuracy: rewards, format: rewards.map(Math.round), structure: rewards.map((r) => r / 2) };
  return { rewards, groups, tasks, needs: { tokenStarts: { lengths }, components: { components }, greedyRewards: { greedyRewards: rewards } } }; // prettier-ignore
}

export const variants = ['ragged', 'peers'];

export default async function bench(chosen: readonly string[]): Promise<void> {
  if (chosen.includes('ragged')) await ragged();
  if (chosen.includes('peers')) await besideTorch({ groups: 512, size: 8, tasks: 3 });
}

async function ragged(): Promise<void> {
  console.log(`advantages: ms, median and least; ${GROUPS} ragged groups and ${TASKS} tasks per 1e5 rewards`);
  for (const { B, runs } of SIZES) {
    const { needs: all, ...labelled } = batchOf(B);
    for (const { name, needs = [] } of ESTIMATORS.values()) {
      const batch: AdvantageInput = Object.assign({ ...labelled }, ...needs.map((need) => all[need]));
      const times = [];
      for (let i = 0; i < runs; i++) {
        const begin = performance.now();
        await advantages(name, batch);
        times.push(performance.now() - begin);
      }
      const counted = times.slice(Math.ceil(runs / 10)).sort((a, b) => a - b);
      const cells = [counted[counted.length >> 1]!, counted[0]!].map((ms) => ms.toFixed(ms < 100 ? 1 : 0).padStart(9));
      console.log(`${B.toExponential().replace('+', '').padEnd(5)}${name.padEnd(22)}${cells.join('')}`);
    }
  }
}

async function besideTorch({ groups, size, tasks }: Record<'groups' | 'size' | 'tasks', number>): Promise<void> {
  native().setThreads(1);
  const labels = (of: (group: number) => number) =>
    Int32Array.from({ length: groups * size }, (_, i) => of(Math.floor(i / size)));
  const batch = {
    rewards: Float64Array.from({ length: groups * size }, (_, i) => ((i * 37) % 21) / 20),
    groups: labels((group) => group),
    tasks: labels((group) => group % tasks),
  };
  const [WARM, CALLS] = [3000, 100]; // JavaScript is compiled while it runs: the first hundreds of calls take up to twice as long
  const ours = async (): Promise<Seconds> => {
    const begin = now();
    for (let i = 0; i < CALLS; i++) await advantages('g2rpo', batch);
    return now().map((t, i) => (t - begin[i]!) / CALLS) as Seconds;
  };
  const peers = (await kernelPeers('g2rpo_advantages', { groups, size, tasks })).map(({ name, seconds }) => {
    return [name, async (): Promise<Seconds> => [await seconds(10), 0]] as const;
  });
  for (let i = 0; i < WARM; i++) await advantages('g2rpo', batch);
  const title = `g2rpo advantages of ${groups} × ${size} rewards in ${tasks} tasks, after ${WARM} calls; one thread, CPU time, medians`;
  await inTurns(title, { ours, ...Object.fromEntries(peers) }, { threads: 1 });
}
