// `npm run test:cuda`: kernels for NVIDIA GPUs on a machine without one. A plain C++ compiler builds them, the CPU runs them thread by thread
// (tests/cuda/emulator), and each is held to the CPU's kernel as on a device; then come those of our other tests that take seconds there. With
// names of kernel tests only these run. Times, and all other tests, need a device: scripts/gpu-run.sh.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lock } from './lock.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const folder = 'build/emulated';
const kernels =
  'adamw attention contracts embedding ema expertLinear expertSwiglu gaussianAdvantage gelu layerNorm linear lora ' +
  'patchRows policyLoss rmsNorm rotary roundBf16 router segmentStatistics squaredNorm swiglu visualSplice';
const quick = [
  ...kernels.split(' ').map((name) => `tests/kernels/${name}.test.ts`),
  'tests/model/qwen3vl/accumulate.test.ts',
  'tests/model/qwen3vl/policyGolden.test.ts',
  'tests/model/qwen3vl/shownPixels.test.ts',
  'tests/runtime/device.test.ts',
  'tests/runtime/deviceFaults.test.ts',
  'tests/runtime/deviceLost.test.ts',
  'tests/train/steps.test.ts',
  'tests/train/optimizer.test.ts',
  'tests/train/offloadOptimizer.test.ts',
];
// of the golden cases those of the smallest policy, and penalties of repetition
const GOLDEN = '^(?!golden values: cases/(?!nano|.*reppen))';
const run = (command, args, { quiet = false, env = {} } = {}) => {
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    stdio: quiet ? 'pipe' : 'inherit',
    encoding: 'utf8',
    env: { G2RPO_CUBLASLT: resolve(root, folder, 'libemulated_cublaslt.so'), ...process.env, ...env },
    maxBuffer: 2 ** 28,
  });
  if (status === 0) return;
  process.stderr.write(`${stdout ?? ''}${stderr ?? ''}`);
  console.error(`cuda: ${command} failed${error ? `: ${error.message}` : ''}`);
  process.exit(1);
};

const unlock = lock(resolve(root, 'build', '.emulated-lock'));
const began = Date.now();
console.log('cuda: building the kernels for the emulator, which takes minutes the first time …');
run('cmake', ['-S', '.', '-B', folder, '-DG2RPO_CUDA_EMULATED=ON', '-DCMAKE_BUILD_TYPE=Release'], { quiet: true });
run('cmake', ['--build', folder, '--parallel', String(availableParallelism())], { quiet: true });
console.log(`cuda: built in ${Math.round((Date.now() - began) / 1000)} s`);
unlock();
const names = process.argv.slice(2);
// several at a time, what each says in one piece
const each = `set -o pipefail; if (($# > 1)); then printf '%s\\n' "\${@:2}"; else "$1" --names; fi`;
const one = `said=$("$1" --quick "$2" 2>&1); ended=$?; echo "$said"; exit $ended`;
run('bash', [
  '-c',
  `${each} | xargs -P ${availableParallelism()} -I{} bash -c '${one}' _ "$1" {}`,
  '_',
  resolve(root, folder, 'g2rpo_cuda'),
  ...names,
]);
if (names.length === 0)
  run(process.execPath, ['scripts/setup.mjs', 'test', ...quick, '-t', GOLDEN], {
    env: { G2RPO_DEVICE: 'cuda', G2RPO_CUDA_LIBRARY: resolve(root, folder, 'g2rpo-cuda.so') },
  });
