// Builds the addon with the address and undefined-behaviour sanitizers, or with `--thread` the thread sanitizer, and runs the tests of
// kernels and policy on it: `npm run test:sanitize`, `npm run test:threads`, or with the names of test files. A report of a sanitizer
// ends the process of the test, which fails.
import { spawnSync } from 'node:child_process';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative } from './native.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const named = process.argv.slice(2).filter((argument) => argument !== '--thread');
const { names, place, option, library, tests, environment } = process.argv.includes('--thread')
  ? {
      names: 'the thread sanitizer',
      place: join('build', 'threads'),
      option: 'G2RPO_TSAN',
      library: 'libtsan.so',
      // what several threads do at once: loops of every kernel, the stream beside JavaScript, policies of worker threads, requests that come,
      // are aborted and are disposed of between the steps of others
      tests: [
        'tests/kernels',
        ...['policy', 'engine', 'stopStrings', 'disposed', 'largeVocabulary'].map(
          (name) => `tests/model/qwen3vl/${name}`,
        ),
      ],
      // Node itself was not built with it, and is not looked at
      environment: { TSAN_OPTIONS: 'ignore_noninstrumented_modules=1:report_signal_unsafe=0:halt_on_error=1' },
    }
  : {
      names: 'address and undefined-behaviour sanitizers',
      place: join('build', 'sanitized'),
      option: 'G2RPO_SANITIZE',
      library: 'libasan.so',
      tests: ['tests/kernels', 'tests/model'],
      environment: {
        // leaks are Node's own at its end; those of the addon are counted by tests
        ASAN_OPTIONS: 'detect_leaks=0:detect_odr_violation=0:allocator_may_return_null=1',
        UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
      },
    };

/** What it measures is not there to be measured: freed memory is kept back, to be watched. */
const ABOUT_MEMORY = ['cycles', 'endedMemory', 'endedWorker', 'tensorMemory'];
/** 32,768 rows take minutes here, in loops that shorter tests go through. */
const LONG = ['longSequence'];

const compiler = process.env.CXX ?? 'g++';
const preloaded = spawnSync(compiler, [`-print-file-name=${library}`], { encoding: 'utf8' }).stdout?.trim() ?? '';
if (!preloaded.includes('/')) {
  console.error(`sanitize: ${compiler} has no ${library}`);
  process.exit(1);
}
const began = Date.now();
console.log(`sanitize: building the addon with ${names} …`);
if (!buildNative({ options: { [option]: 'ON' }, folder: join(place, 'build'), verbose: false })) process.exit(1);
console.log(`sanitize: built in ${Math.round((Date.now() - began) / 1000)} s`);

const files = named.length > 0 ? named : tests;
const { status } = spawnSync(
  process.execPath,
  [
    join(root, 'node_modules', 'vitest', 'vitest.mjs'),
    'run',
    ...files,
    ...[...ABOUT_MEMORY, ...LONG].flatMap((name) => ['--exclude', `**/${name}.test.ts`]),
    ...['--testTimeout=300000', '--hookTimeout=300000', '--reporter=dot'],
  ],
  {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      LD_PRELOAD: preloaded,
      G2RPO_PREBUILD: join(root, place), // where node-gyp-build looks instead
      ...environment,
    },
  },
);
process.exit(status ?? 1);
