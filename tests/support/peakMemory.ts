// A process that makes one pass of the package's policy over many rows and prints by how much its memory rose at the peak.
import { readFileSync } from 'node:fs';
import { Policy } from '../../lib/model/qwen3vl/policy.ts';
import { likelihood } from '../../lib/train/likelihood.ts';
import { manyRows } from './manyRows.ts';

const [dir, keep, rows] = process.argv.slice(2) as [string, 'nothing' | 'none' | 'selective' | 'full', string];
const bytes = (key: string) =>
  1024 * Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))![1]);
const policy = await Policy.load(dir);
const batch = manyRows(Number(rows));
policy.zeroGradients();
await policy.trained.at(-1)!.gradient!.read();
const before = bytes('VmRSS');
if (keep === 'nothing') await policy.forward(batch);
else await policy.forwardBackward(batch, likelihood(batch.targetIds.length), { recompute: keep });
console.log(bytes('VmHWM') - before);
