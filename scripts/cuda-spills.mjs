// node scripts/cuda-spills.mjs LOG...: what `nvcc -Xptxas -v` says of kernels. Ends with 1 where one spills more registers than are nothing beside what
// it does, or where the logs tell of no kernel.
import { readFileSync } from 'node:fs';

const MOST = 128; // bytes a thread writes: of kernels in f64, and of rows of more than 4096 elements
const kernels = process.argv.slice(2).flatMap((file) => {
  const told = readFileSync(file, 'utf8').matchAll(/Function properties for (\S+)\n.*?(\d+) bytes spill stores/g);
  return [...told].map(([, name, bytes]) => ({ name, bytes: Number(bytes) }));
});
const spilling = kernels.filter(({ bytes }) => bytes > 0).sort((a, b) => b.bytes - a.bytes);
const most = spilling[0]?.bytes ?? 0;
console.log(
  `cuda: ${kernels.length} functions, of which ${spilling.length} spill registers, ${most} bytes a thread at most`,
);
for (const { name, bytes } of spilling.filter((each) => each.bytes > MOST))
  console.error(`cuda: ${name} spills ${bytes} bytes; ${MOST} at most`);
if (kernels.length === 0) console.error('cuda: no kernel is told of; was it compiled with -Xptxas -v?');
process.exit(Number(most > MOST || kernels.length === 0));
