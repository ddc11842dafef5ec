// `npm run test:cuda`, or with the names of tests: kernels for NVIDIA GPUs on a machine without one. A plain C++ compiler builds them, the CPU runs
// them thread by thread (tests/cuda/emulator), and each is held to the CPU's kernel as on a device. Times need one: scripts/gpu-run.sh.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const folder = 'build/emulated';
const run = (command, args, quiet) => {
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    stdio: quiet ? 'pipe' : 'inherit',
    encoding: 'utf8',
    env: { G2RPO_CUBLASLT: resolve(root, folder, 'libemulated_cublaslt.so'), ...process.env },
    maxBuffer: 2 ** 28,
  });
  if (status === 0) return;
  process.stderr.write(`${stdout ?? ''}${stderr ?? ''}`);
  console.error(`cuda: ${command} failed${error ? `: ${error.message}` : ''}`);
  process.exit(1);
};

const began = Date.now();
console.log('cuda: building the kernels for the emulator …');
run('cmake', ['-S', '.', '-B', folder, '-DG2RPO_CUDA_EMULATED=ON', '-DCMAKE_BUILD_TYPE=Release'], true);
run('cmake', ['--build', folder, '--parallel', String(availableParallelism())], true);
console.log(`cuda: built in ${Math.round((Date.now() - began) / 1000)} s`);
run(resolve(root, folder, 'g2rpo_cuda'), ['--quick', ...process.argv.slice(2)], false);
