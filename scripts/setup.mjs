// One entry for `npm start`, `npm test` and their kin: installs packages, builds the addon and the TypeScript where they are
// missing or older than their sources, then runs what was asked for.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const [task = 'build', ...rest] = process.argv.slice(2);
const bin = (name) => join(root, 'node_modules', '.bin', name);

function run(command, args, options = {}) {
  const r = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (r.error) console.error(`g2rpo: ${command}: ${r.error.message}`);
  if (r.status !== 0) process.exit(r.status ?? 1);
}

function* filesBelow(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else yield path;
  }
}

/** A digest of the names and contents of files and folders: what was built from them is stale when it changes. */
function digest(paths) {
  const hash = createHash('sha256').update(process.versions.node.split('.')[0]);
  for (const path of paths.map((p) => join(root, p)).filter(existsSync))
    for (const file of statSync(path).isDirectory() ? [...filesBelow(path)].sort() : [path])
      hash.update(file.slice(root.length)).update('\0').update(readFileSync(file));
  return hash.digest('hex');
}

function upToDate(stamp, value) {
  const file = join(root, stamp);
  return existsSync(file) && readFileSync(file, 'utf8') === value;
}

function remember(stamp, value) {
  mkdirSync(dirname(join(root, stamp)), { recursive: true });
  writeFileSync(join(root, stamp), value);
}

function step(title, stamp, sources, work) {
  const value = digest(sources);
  if (upToDate(stamp, value)) return;
  const begin = Date.now();
  process.stderr.write(`g2rpo: ${title} …\n`);
  work();
  remember(stamp, value);
  process.stderr.write(`g2rpo: ${title}: ${((Date.now() - begin) / 1000).toFixed(0)} s\n`);
}

const major = Number(process.versions.node.split('.')[0]);
if (major < 20) {
  console.error(`g2rpo: Node 20.17 or newer is needed; this is ${process.version}`);
  process.exit(1);
}

step('installing packages', 'node_modules/.g2rpo-installed', ['package.json', 'package-lock.json'], () =>
  run('npm', ['ci', '--ignore-scripts', '--no-fund', '--no-audit', '--loglevel=error']),
);
const { buildNative } = await import('./native.mjs');
step('building the native addon', 'build/.g2rpo-built', ['csrc', 'CMakeLists.txt', 'scripts/native.mjs'], () => {
  if (!buildNative({ verbose: false })) process.exit(1);
});
const needsDist = ['start', 'build', 'doctor', 'check', 'test', 'cli'].includes(task);
if (needsDist)
  step('compiling TypeScript', 'dist/.g2rpo-built', ['lib', 'tsconfig.json', 'tsconfig.build.json'], () =>
    run(process.execPath, [bin('tsc'), '-p', 'tsconfig.build.json']),
  );

const cli = (...args) => run(process.execPath, [join(root, 'dist', 'cli', 'main.js'), ...args]);
const tasks = {
  build: () => undefined,
  start: () => cli('quickstart', ...rest),
  doctor: () => cli('doctor', ...rest),
  cli: () => cli(...rest),
  test: () => run(process.execPath, [join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', ...rest]),
  bench: () => run(process.execPath, [join(root, 'node_modules', 'jiti', 'lib', 'jiti-cli.mjs'), './bench/run.ts', ...rest]),
  check: () => {
    run(process.execPath, [bin('tsc'), '--noEmit']);
    run(process.execPath, [bin('eslint'), '.']);
    run(process.execPath, [bin('prettier'), '--check', '.']);
    run(process.execPath, [join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', 'tests/structure']);
    run(process.execPath, [bin('publint'), '--strict']);
  },
};
if (!tasks[task]) {
  console.error(`g2rpo: no task ${task}; there are ${Object.keys(tasks).join(', ')}`);
  process.exit(1);
}
tasks[task]();
