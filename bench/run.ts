// Runs bench/kernels/*.bench.ts and bench/*.bench.ts, or those named on the command line: `npm run bench -- gaussianAdvantage`. Where a bench
// has variants, such as sizes of a policy, some of them are named behind it: `npm run bench -- update:tiny,small`.
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { nearestName } from '../lib/runtime/errors.ts';
import { native } from '../lib/runtime/native.ts';
import { measurePeaks } from './support/peaks.ts';
import { closeKernelPeers } from './support/kernelPeers.ts';

const folder = new URL('./kernels/', import.meta.url);
const suffix = '.bench.ts';
const kernels = readdirSync(fileURLToPath(folder))
  .filter((f) => f.endsWith(suffix))
  .map((f) => f.slice(0, -suffix.length))
  .sort();
const whole = ['engine', 'objective', 'sampling', 'step', 'threads', 'trueSize', 'trueStep', 'update', 'weights'];
const known = [...kernels, ...whole];
const wanted = process.argv.slice(2).map((arg) => {
  const [name, variants] = arg.split(':') as [string, string?];
  return { name, variants: variants?.split(',') };
});

interface Bench {
  /** what it runs through if nothing is chosen */
  variants?: readonly string[];
  default(variants: readonly string[]): Promise<void>;
}

function wantKnown(name: string, names: readonly string[]): void {
  if (names.includes(name)) return;
  const nearest = nearestName(name, names);
  console.error(`bench: no ${name}; ${nearest ? `did you mean ${nearest}?` : `there are ${names.join(', ')}`}`);
  process.exit(1);
}
for (const { name } of wanted) wantKnown(name, known);

const { flops, bf16Flops, bytes } = measurePeaks();
const ofBf16 = bf16Flops > flops ? `, ${(bf16Flops / 1e9).toFixed(0)} of bf16` : '';
console.log(
  `one thread of ${native().hostIsa()}: ${(flops / 1e9).toFixed(0)} GFLOP/s in f32${ofBf16}, ${(bytes / 1e9).toFixed(1)} GB/s copying; shares are of peaks measured beside each sample`,
);
for (const { name, variants } of wanted.length ? wanted : known.map((name) => ({ name, variants: undefined }))) {
  const at = whole.includes(name) ? `../${name}${suffix}` : `${name}${suffix}`;
  const bench = (await import(new URL(at, folder).href)) as Bench;
  for (const variant of variants ?? []) wantKnown(variant, bench.variants ?? []);
  await bench.default(variants ?? bench.variants ?? []);
}
await closeKernelPeers();
