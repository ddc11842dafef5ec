// Builds the addon with the address and undefined-behaviour sanitizers and runs the tests of kernels and policy on it:
// `npm run test:sanitize`, or with the names of test files. A report of a sanitizer ends the process of the test, which fails.
import { spawnSync } from 'node:child_process';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative } from './native.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const place = join('build', 'sanitized');

/** What it measures is not there to be measured: freed memory is kept back, to be watched. */
const ABOUT_MEMORY = ['endedMemory', 'endedWorker', 'tensorMemory'];

const compiler = process.env.CXX ?? 'g++';
const library = spawnSync(compiler, ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout?.trim() ?? '';
if (!library.includes('/')) {
  console.error(`sanitize: ${compiler} has no libasan.so`);
  process.exit(1);
}
const began = Date.now();
console.log('sanitize: building the addon with address and undefined-behaviour sanitizers …');
if (!buildNative({ options: { G2RPO_SANITIZE: 'ON' }, folder: join(place, 'build'), verbose: false })) process.exit(1);
console.log(`sanitize: built in ${Math.round((Date.now() - began) / 1000)} s`);

const named = process.argv.slice(2);
const files = named.length > 0 ? named : ['tests/kernels', 'tests/model'];
const { status } = spawnSync(
  process.execPath,
  [
    join(root, 'node_modules', 'vitest', 'vitest.mjs'),
    'run',
    ...files,
    ...ABOUT_MEMORY.flatMap((name) => ['--exclude', `**/${name}.test.ts`]),
    ...['--testTimeout=300000', '--hookTimeout=300000', '--reporter=dot'],
  ],
  {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      LD_PRELOAD: library,
      G2RPO_PREBUILD: join(root, place), // where node-gyp-build looks instead
      // leaks are Node's own at its end; those of the addon are counted by tests
      ASAN_OPTIONS: 'detect_leaks=0:detect_odr_violation=0:allocator_may_return_null=1',
      UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
    },
  },
);
process.exit(status ?? 1);
