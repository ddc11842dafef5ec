// `npm run gpu:pack [FILE]`: what a bare machine with an NVIDIA GPU, the CUDA toolkit, CMake and a C++ compiler needs to test and time the kernels, in
// one archive. There: tar xzf g2rpo-gpu.tgz && bash g2rpo-gpu/scripts/gpu-run.sh results.txt
import { spawnSync } from 'node:child_process';
import { rmSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const MOST = 64e6; // bytes
const WANTED = ['CMakeLists.txt', 'LICENSE', 'csrc', 'tests/cuda', 'tests/golden', 'scripts/gpu-run.sh'];

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const file = resolve(process.argv[2] ?? 'g2rpo-gpu.tgz');
const { status, stderr, error } = spawnSync(
  'tar',
  ['czf', file, '--transform', 's,^,g2rpo-gpu/,', '-C', root, ...WANTED],
  { encoding: 'utf8' },
);
if (status !== 0) {
  console.error(`gpu-pack: ${(stderr ?? '').trim() || error?.message}`);
  process.exit(1);
}
const { size } = statSync(file);
if (size > MOST) {
  rmSync(file);
  console.error(`gpu-pack: the archive would have ${(size / 1e6).toFixed(1)} MB; at most ${MOST / 1e6} are wanted`);
  process.exit(1);
}
console.log(
  `${file}: ${(size / 1e6).toFixed(1)} MB; there: tar xzf it, then bash g2rpo-gpu/scripts/gpu-run.sh results.txt`,
);
