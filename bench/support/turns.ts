import { readFileSync, writeFileSync } from 'node:fs';
import { environment } from '../../lib/runtime/env.ts';
import { median } from './benchKernel.ts';

/** Seconds: CPU of all threads, wall. */
export type Seconds = [cpu: number, wall: number];

export const now = (): Seconds => {
  const { user, system } = process.cpuUsage();
  return [(user + system) / 1e6, performance.now() / 1000];
};
export async function secondsOf(work: () => Promise<unknown>): Promise<Seconds> {
  const begin = now();
  await work();
  return now().map((t, i) => t - begin[i]!) as Seconds;
}

/** Megabytes of memory at the worst since `resetPeakMemory`. */
export const peakMemoryMb = () => Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024;

/** Forgets what stood in memory before, where the system allows it. */
export function resetPeakMemory(): void {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // the peak is then that of the whole process
  }
}

const device = environment().device ?? 'cpu';

/** CPU time of one thread in medians; of more threads, wall time and the best of the rounds; of another device, wall time in medians. */
export const timeOf = (times: readonly Seconds[], threads: number): number =>
  device !== 'cpu'
    ? median(times.map(([, wall]) => wall))
    : threads === 1
      ? median(times.map(([cpu]) => cpu))
      : Math.min(...times.map(([, wall]) => wall));
export const howTimed = (threads: number, rounds: number) =>
  device !== 'cpu'
    ? `${device}, wall time, medians`
    : threads === 1
      ? 'one thread, CPU time, medians'
      : `${threads} threads, wall time, best of ${rounds}`;

/** Does the same work in several ways by turns, and prints the times and how often the first is as fast as each other one. */
export async function inTurns(
  title: string,
  ways: Record<string, () => Promise<Seconds>>,
  { threads, rounds = 5 }: { threads: number; rounds?: number },
): Promise<void> {
  const names = Object.keys(ways);
  const times = names.map((): Seconds[] => []);
  for (let round = 0; round <= rounds; round++)
    for (const [i, name] of names.entries()) {
      const seconds = await ways[name]!();
      if (round > 0) times[i]!.push(seconds); // the first round warms up
    }
  const all = times.map((each) => timeOf(each, threads));
  const ms = (seconds: number) => `${(1000 * seconds).toFixed(seconds < 0.1 ? 2 : 0)} ms`;
  const cells = names.map((name, i) => `${name} ${ms(all[i]!)}${i > 0 ? ` (${(all[i]! / all[0]!).toFixed(2)}×)` : ''}`);
  console.log(`${title.padEnd(52)}  ${cells.join('   ')}`);
}
