import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSmallPolicy } from '../lib/data/gallery/index.ts';
import { median } from './support/benchKernel.ts';

const ROUNDS = 3;
const SIZES = { hidden: 1024, layers: 6, heads: 16, kvHeads: 4, mlp: 3072, visionHidden: 256, visionDepth: 2 };

/** What is measured, by name: how weights are kept, and what is done: an optimizer's settings, or decoding. */
const RUNS: [name: string, dtype: 'f32' | 'bf16', work: object | 'decode'][] = [
  ['training f32', 'f32', {}],
  ['training bf16, rounded at random', 'bf16', {}],
  ['training bf16, masters', 'bf16', { masterWeights: true }],
  ['training f32, moments of 8 bits', 'f32', { optimizer: 'adamw8bit' }],
  ['training bf16, moments of 8 bits', 'bf16', { optimizer: 'adamw8bit' }],
  ['decoding f32', 'f32', 'decode'],
  ['decoding bf16', 'bf16', 'decode'],
];

/**
 * Weights in f32 and in bf16 of a policy with random weights: memory and time of updates, and tokens per second. A process each,
 * in interleaved rounds, one thread, CPU time, medians.
 */
export default async function weightsBench(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'g2rpo-weights-'));
  try {
    const dir = join(folder, 'policy');
    const parameters = await writeSmallPolicy(dir, { ...SIZES, seed: 1 });
    console.log(
      `a policy of ${(parameters / 1e6).toFixed(1)} M parameters; updates over 400 rows; answers of 24 tokens`,
    );
    const script = fileURLToPath(new URL('support/weightsRun.ts', import.meta.url));
    const all = RUNS.map((): Record<string, number>[] => []);
    for (let round = 0; round < ROUNDS; round++)
      for (const [k, [name, dtype, work]] of RUNS.entries()) {
        const args = [dir, dtype, work === 'decode' ? work : JSON.stringify(work)];
        const child = spawnSync(process.execPath, ['--import', 'jiti/register', script, ...args], { encoding: 'utf8' });
        if (child.status !== 0) throw new Error(`${name}: ${child.stderr}`);
        all[k]!.push(JSON.parse(child.stdout) as Record<string, number>);
      }
    for (const [k, [name]] of RUNS.entries()) {
      const columns = Object.keys(all[k]![0]!).map((key) => {
        const value = median(all[k]!.map((each) => each[key]!));
        return `${key} ${value.toFixed(key.endsWith(' s') ? 3 : key.endsWith('MB') ? 0 : 1)}`;
      });
      console.log([name.padEnd(36), ...columns.map((column) => column.padEnd(22))].join('').trimEnd());
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}
