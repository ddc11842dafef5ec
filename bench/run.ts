// Runs bench/kernels/*.bench.ts, bench/engine.bench.ts, bench/objective.bench.ts and bench/step.bench.ts, or those named on the command line: `npm run bench -- gaussianAdvantage`.
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { nearestName } from '../lib/runtime/errors.ts';
import { native } from '../lib/runtime/native.ts';
import { measurePeaks } from './support/peaks.ts';
import { closeTorch } from './support/torchPeer.ts';

const folder = new URL('./kernels/', import.meta.url);
const suffix = '.bench.ts';
const kernels = readdirSync(fileURLToPath(folder))
  .filter((f) => f.endsWith(suffix))
  .map((f) => f.slice(0, -suffix.length))
  .sort();
const whole = ['engine', 'objective', 'step'];
const known = [...kernels, ...whole];
const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !known.includes(name));
if (unknown !== undefined) {
  const nearest = nearestName(unknown, known);
  console.error(`bench: no ${unknown}; ${nearest ? `did you mean ${nearest}?` : `there are ${known.join(', ')}`}`);
  process.exit(1);
}

const { flops, bytes } = measurePeaks();
console.log(
  `one thread of ${native().hostIsa()}: ${(flops / 1e9).toFixed(0)} GFLOP/s in f32, ${(bytes / 1e9).toFixed(1)} GB/s copying; shares are of peaks measured beside each sample`,
);
for (const name of wanted.length ? wanted : known) {
  const bench = (await import(
    new URL(whole.includes(name) ? `../${name}${suffix}` : `${name}${suffix}`, folder).href
  )) as {
    default: () => Promise<void>;
  };
  await bench.default();
}
await closeTorch();
