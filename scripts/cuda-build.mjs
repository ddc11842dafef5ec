// `npm run build:cuda`: the backend for NVIDIA GPUs, as a library beside the addon, where it is looked for (lib/runtime/native.ts). Compiled for the
// GPUs of this machine, or for those that CMAKE_CUDA_ARCHITECTURES lists (as 90a or 80;90a); no GPU is needed to build it.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, renameSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const folder = join(root, 'build', 'cuda');
const USUAL = ['80', '90a', '100']; // A100, H100 and H200 with all their instructions, B200

const answerOf = (command, ...args) => {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8' });
  return status === 0 ? stdout : undefined;
};
const stop = (message) => {
  console.error(`g2rpo: ${message}`);
  process.exit(1);
};

function compiler() {
  const { CUDACXX, CUDA_HOME } = process.env;
  const places = [CUDACXX, 'nvcc', join(CUDA_HOME || '/usr/local/cuda', 'bin', 'nvcc')].filter(Boolean);
  return places.find((place) => answerOf(place, '--version'));
}

/** Of the GPUs that are there, or the usual ones as far as this compiler knows them. */
function architectures(nvcc) {
  const { CMAKE_CUDA_ARCHITECTURES: asked } = process.env;
  if (asked) return asked;
  const here = answerOf('nvidia-smi', '--query-gpu=compute_cap', '--format=csv,noheader')?.match(/^\d+\.\d+$/gm);
  if (here) return [...new Set(here.map((version) => version.replace('.', '').replace(/^90$/, '90a')))].join(';');
  const known = answerOf(nvcc, '--list-gpu-arch')?.match(/(?<=compute_)\d+$/gm) ?? [];
  return (
    USUAL.filter((each) => known.includes(each.replace('a', ''))).join(';') ||
    stop(`${nvcc} knows none of ${USUAL.join(', ')}`)
  );
}

const nvcc = compiler();
const missing = [
  !nvcc && 'nvcc, of the CUDA toolkit (looked for in CUDACXX, PATH, CUDA_HOME and /usr/local/cuda)',
  !answerOf('cmake', '--version') && 'cmake',
].filter(Boolean);
if (missing.length > 0) stop(`building the backend for NVIDIA GPUs needs ${missing.join(', and ')}`);

const run = (...args) => {
  const { status } = spawnSync('cmake', args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) stop('the backend for NVIDIA GPUs could not be built; the messages above say why');
};
const wanted = architectures(nvcc);
console.error(`g2rpo: building the backend for NVIDIA GPUs, CMAKE_CUDA_ARCHITECTURES=${wanted} …`);
const began = Date.now();
const configured = existsSync(join(folder, 'CMakeCache.txt')); // by another generator, perhaps
const generator = !configured && answerOf('ninja', '--version') ? ['-G', 'Ninja'] : [];
const options = {
  G2RPO_CUDA: 'ON',
  CMAKE_BUILD_TYPE: 'Release',
  CMAKE_CUDA_COMPILER: nvcc,
  CMAKE_CUDA_ARCHITECTURES: wanted,
};
run('-S', root, '-B', folder, ...generator, ...Object.entries(options).map(([name, value]) => `-D${name}=${value}`));
run('--build', folder, '--target', 'g2rpo_cuda_library', '--parallel', String(availableParallelism()));

/** Where the addon lies that will look for it: one that was built here, or a prebuilt one. */
function addonFolder() {
  try {
    return dirname(createRequire(import.meta.url)('node-gyp-build').path(root));
  } catch {
    return join(root, 'build', 'Release');
  }
}

// a process that has loaded the one before keeps it
const beside = join(addonFolder(), 'g2rpo-cuda.so');
mkdirSync(dirname(beside), { recursive: true });
copyFileSync(join(folder, 'g2rpo-cuda.so'), `${beside}.new`);
renameSync(`${beside}.new`, beside);
console.error(`g2rpo: ${beside}: ${Math.round((Date.now() - began) / 1000)} s`);
