// Packs the package and installs it into empty projects, as a user would: with a prebuilt addon and no compiler in reach, and
// from source. In each it runs docs/examples/advantages.mjs and the command.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const work = mkdtempSync(join(tmpdir(), 'g2rpo-package-'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));

function fail(message) {
  console.error(`test-package: ${message}`);
  process.exit(1);
}

function run(command, args, { cwd = root, env = process.env } = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    env,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) fail(`${command} ${args.join(' ')} in ${cwd}: ${error?.message ?? `\n${stdout}${stderr}`}`);
  return stdout;
}

function find(command) {
  const folder = process.env.PATH.split(delimiter).find((each) => existsSync(join(each, command)));
  return folder ? join(folder, command) : fail(`${command} is not on the PATH`);
}

/** What a user's shell has, without what npm gave to this script; the PATH holds a shell, Node and npm, or everything. */
function environment(compiler) {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(npm_|INIT_CWD|NODE_ENV$)/i.test(name)),
  );
  if (compiler) return env;
  const bin = join(work, 'bin');
  mkdirSync(bin, { recursive: true });
  for (const command of ['node', 'npm', 'npx', 'sh']) symlinkSync(find(command), join(bin, command));
  return { ...env, PATH: bin };
}

function pack() {
  const [{ filename, files }] = JSON.parse(
    run('npm', ['pack', '--json', '--silent', '--pack-destination', work]).replace(/^[^[]*/, ''),
  );
  const paths = files.map(({ path }) => path);
  const needed = [
    'dist/index.js',
    'dist/index.d.ts',
    'dist/cli/main.js',
    'bin/g2rpo.mjs',
    'lib/index.ts',
    'CMakeLists.txt',
    'LICENSE',
    'README.md',
  ];
  const missing = needed.filter((path) => !paths.includes(path));
  if (!paths.some((path) => /^prebuilds\/.*\.node$/.test(path))) missing.push('prebuilds/*.node');
  if (missing.length > 0) fail(`the tarball lacks ${missing.join(', ')}`);
  const surplus = paths.filter((path) => /^(tests|bench\/(?!results\/)|build|node_modules)\//.test(path));
  if (surplus.length > 0) fail(`the tarball has ${surplus.slice(0, 5).join(', ')}`);
  for (const page of paths.filter((path) => path.endsWith('.md')))
    for (const [, link] of readFileSync(join(root, page), 'utf8').matchAll(/\]\(([^):]+)\)/g))
      if (!paths.includes(relative(root, resolve(root, page, '..', link))))
        fail(`the tarball lacks ${link}, which ${page} links to`);
  return join(work, filename);
}

function withoutPrebuilds(tarball) {
  const folder = join(work, 'source');
  mkdirSync(folder);
  run('tar', ['-xzf', tarball, '-C', folder]);
  rmSync(join(folder, 'package/prebuilds'), { recursive: true });
  const stripped = join(work, 'g2rpo-source.tgz');
  run('tar', ['-czf', stripped, '-C', folder, 'package']);
  return stripped;
}

/** An empty project that installs the tarball, computes and asks the command. */
function consume(name, tarball, { compiler }) {
  const begin = Date.now();
  const cwd = join(work, name);
  mkdirSync(cwd);
  writeFileSync(join(cwd, 'package.json'), JSON.stringify({ name, private: true, type: 'module' }));
  const env = environment(compiler);
  run('npm', ['install', '--no-fund', '--no-audit', tarball], { cwd, env });
  const built = existsSync(join(cwd, 'node_modules/g2rpo/build/Release/g2rpo.node'));
  if (built !== compiler)
    fail(`${name}: the addon was ${built ? '' : 'not '}built, and should ${compiler ? '' : 'not '}have been`);
  copyFileSync(join(root, 'docs/examples/advantages.mjs'), join(cwd, 'example.mjs'));
  const printed = run('node', ['example.mjs'], { cwd, env });
  // ranks of two pairs of ties: ± the mean of the quantiles at 5/8 and 7/8
  if (!/advantages: Float32Array\(4\) \[\s*0\.734\d+,\s+-0\.734\d+,\s+-0\.734\d+,\s+0\.734\d+/.test(printed))
    fail(`${name}: example.mjs printed\n${printed}`);
  const types = readdirSync(join(cwd, 'node_modules/g2rpo/dist')).filter((file) => file.endsWith('.d.ts'));
  if (types.length === 0) fail(`${name}: no types`);
  const version = run('npx', ['--no-install', 'g2rpo', '--version'], { cwd, env }).trim();
  run('npx', ['--no-install', 'g2rpo', 'doctor'], { cwd, env });
  console.log(
    `test-package: g2rpo ${version} ${name}: installed, computed, answered (${((Date.now() - begin) / 1000).toFixed(0)} s)`,
  );
}

run('npm', ['run', '--silent', 'package:native']);
const tarball = pack();
consume('with-prebuild', tarball, { compiler: false });
consume('from-source', withoutPrebuilds(tarball), { compiler: true });
