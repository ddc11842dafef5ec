// One entry for `npm start`, `npm test` and their kin: installs packages, builds the addon and the TypeScript where they are
// missing or older than their sources, then runs what was asked for.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lock } from './lock.mjs';
import { buildNative } from './native.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const [task = 'build', ...rest] = process.argv.slice(2);
const at = (...path) => join(root, ...path);
const isFolder = (path) => lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

function run(command, ...args) {
  const { error, status, signal } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) console.error(`g2rpo: ${command}: ${error.message}`);
  else if (signal)
    console.error(
      `g2rpo: ${command} was ended by ${signal}${signal === 'SIGKILL' ? ': by somebody, or by the system for want of memory' : ''}`,
    );
  if (status !== 0) process.exit(status ?? 1);
}
const node = (...args) => run(process.execPath, ...args);
const tool = (path, ...args) => node(at('node_modules', path), ...args);
const cli = (...args) => node(at('dist/cli/main.js'), ...args);
const vitest = (...args) => tool('vitest/vitest.mjs', 'run', ...args);

/** The names and contents of files and folders: what was built from them is stale when these change. */
function contents(paths) {
  const hash = createHash('sha256');
  const add = (path) => {
    if (isFolder(path))
      readdirSync(path)
        .sort()
        .forEach((name) => add(join(path, name)));
    else if (existsSync(path)) hash.update(path.slice(root.length)).update('\0').update(readFileSync(path));
  };
  paths.forEach((path) => add(at(path)));
  return hash.digest('hex');
}

/** Of package.json only what decides which packages are installed. */
function packages() {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(at('package.json'), 'utf8'));
  return JSON.stringify([dependencies, devDependencies, contents(['package-lock.json'])]);
}

/** Works unless the product is there and was made of the same sources; a stamp beside it remembers them. */
function step(title, { product, stamp, sources }, work) {
  if (existsSync(at(product)) && existsSync(at(stamp)) && readFileSync(at(stamp), 'utf8') === sources) return;
  const begin = Date.now();
  process.stderr.write(`g2rpo: ${title} …\n`);
  work();
  mkdirSync(dirname(at(stamp)), { recursive: true });
  writeFileSync(at(stamp), sources);
  process.stderr.write(`g2rpo: ${title}: ${((Date.now() - begin) / 1000).toFixed(0)} s\n`);
}

function installPackages() {
  const linked = lstatSync(at('node_modules'), { throwIfNoEntry: false })?.isSymbolicLink();
  if (linked) return; // it belongs to another checkout, which installs it
  const product = 'node_modules/.package-lock.json';
  step('installing packages', { product, stamp: 'node_modules/.g2rpo-installed', sources: packages() }, () =>
    run('npm', 'ci', '--ignore-scripts', '--include=dev', '--no-fund', '--no-audit', '--loglevel=error'),
  );
}

function buildAddon() {
  const sources = contents(['csrc', 'CMakeLists.txt', 'scripts/native.mjs']);
  step(
    'building the native addon (once; some minutes on two cores)',
    { product: 'build/Release/g2rpo.node', stamp: 'build/.g2rpo-built', sources },
    () => {
      if (!buildNative({ verbose: false })) process.exit(1);
    },
  );
}

/** Into a new folder that takes the place of the old one: no file of a deleted source stays. */
function compile() {
  const sources = contents(['lib', 'tsconfig.json', 'tsconfig.build.json']);
  step('compiling TypeScript', { product: 'dist/index.js', stamp: 'build/.g2rpo-compiled', sources }, () => {
    rmSync(at('dist.new'), { recursive: true, force: true });
    tool('typescript/bin/tsc', '-p', 'tsconfig.build.json', '--outDir', 'dist.new');
    rmSync(at('dist'), { recursive: true, force: true });
    renameSync(at('dist.new'), at('dist'));
  });
}

const tasks = {
  build: () => undefined,
  /** for packing: no addon */
  dist: () => undefined,
  start: () => cli('quickstart', ...rest),
  doctor: () => cli('doctor', ...rest),
  cli: () => cli(...rest),
  test: () => vitest(...rest),
  bench: () => tool('jiti/lib/jiti-cli.mjs', './bench/run.ts', ...rest),
  cuda: () => node(at('scripts/cuda-build.mjs')),
  /** builds an addon of its own */
  sanitize: () => node(at('scripts/sanitize.mjs'), ...rest),
  docs: () => tool('jiti/lib/jiti-cli.mjs', './scripts/docs/write.ts'),
  golden: () => tool('jiti/lib/jiti-cli.mjs', './scripts/golden/run.ts', ...rest),
  check: () => {
    tool('typescript/bin/tsc', '--noEmit');
    tool('eslint/bin/eslint.js', '.');
    tool('prettier/bin/prettier.cjs', '--check', '--log-level=warn', '.');
    vitest('tests/structure');
    tool('publint/src/cli.js', '--strict');
  },
};

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 17)) {
  console.error(`g2rpo: Node 20.17 or newer is needed; this is ${process.version}`);
  process.exit(1);
}
if (!Object.hasOwn(tasks, task)) {
  console.error(`g2rpo: no task ${task}; there are ${Object.keys(tasks).join(', ')}`);
  process.exit(2);
}

const unlock = lock(at('build', '.setup-lock'));
installPackages();
if (task !== 'dist') buildAddon();
compile();
unlock();
tasks[task]();
