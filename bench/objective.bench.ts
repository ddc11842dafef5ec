// Advantages of a batch in ragged groups: what `advantages` takes, with everything on the way there.
import { advantages, ESTIMATORS } from '../lib/index.ts';

const SIZES = [1e5, 1e6, 1e7];
const [GROUPS, TASKS] = [2000, 13]; // per 1e5 rewards
const RUNS = 15;

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
  return { rewards, groups, tasks, lengths, components, greedyRewards: rewards };
}

export default async function bench(): Promise<void> {
  const batches = SIZES.map(batchOf);
  console.log(`advantages: ms, median; ${GROUPS} ragged groups and ${TASKS} tasks per 1e5 rewards`);
  console.log(row('estimator', ['1e5', '1e6', '1e7']));
  for (const { name } of ESTIMATORS.values()) {
    const cells = [];
    for (const batch of batches) {
      const runs = batch.rewards.length > 1e5 ? 3 : RUNS;
      const times = [];
      for (let i = 0; i < runs + 1; i++) {
        const begin = performance.now();
        await advantages(name, batch);
        times.push(performance.now() - begin);
      }
      const [median] = times.slice(1).sort((a, b) => a - b).slice(runs >> 1); // prettier-ignore
      cells.push(median!.toFixed(median! < 100 ? 1 : 0));
    }
    console.log(row(name, cells));
  }
}

const row = (name: string, cells: string[]): string => name.padEnd(22) + cells.map((cell) => cell.padStart(9)).join('');
