// `npm run gpu:pack [FILE]`: what a bare machine with an NVIDIA GPU, the CUDA toolkit, CMake and a C++ compiler needs to test and time everything
// here, in one archive: this checkout, Node, the addon as it was built, and the packages of tests. There:
// tar xzf g2rpo-gpu.tgz && bash g2rpo-gpu/scripts/gpu-run.sh results.txt
// With `--folder` only what a checkout lacks there is put into gpu/.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const MOST = 64e6; // bytes
const WANTED =
  'CMakeLists.txt LICENSE package.json tsconfig.json vitest.config.ts assets bench bin configs csrc gpu lib scripts tests'.split(
    ' ',
  );
/** Of node_modules what neither runs nor tests anything. */
const NOT_NEEDED =
  'typescript @typescript-eslint eslint @eslint @eslint-community prettier @types cmake-js lodash tar'.split(' ');

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const at = (...path) => join(root, ...path);

function fail(message) {
  console.error(`gpu-pack: ${message}`);
  process.exit(1);
}
function shell(script, ...args) {
  const { status, stderr, error } = spawnSync('bash', ['-ec', script, 'bash', ...args], {
    cwd: root,
    encoding: 'utf8',
  });
  if (status !== 0) fail((stderr ?? '').trim() || error?.message);
}

for (const built of ['build/Release/g2rpo.node', 'dist/cli/main.js'])
  if (!existsSync(at(built))) fail(`${built} is not there; \`npm run build\` makes it`);

mkdirSync(at('gpu'), { recursive: true });
if (!existsSync(at('gpu/node.xz')))
  shell('xz -T0 -c "$1" >gpu/node.xz.part && mv gpu/node.xz.part gpu/node.xz', process.execPath);
const packages = readdirSync(at('node_modules')).filter((name) => !NOT_NEEDED.includes(name));
shell('tar cf - -C node_modules "$@" | xz -T0 >gpu/node_modules.tar.xz', ...packages);
shell('tar cJf gpu/built.tar.xz dist build/Release/g2rpo.node');
if (process.argv.includes('--folder')) process.exit(0);

const file = resolve(process.argv[2] ?? 'g2rpo-gpu.tgz');
shell('tar czf "$1" --transform s,^,g2rpo-gpu/, "${@:2}"', file, ...WANTED);
const { size } = statSync(file);
if (size > MOST) {
  rmSync(file);
  fail(`the archive would have ${(size / 1e6).toFixed(1)} MB; at most ${MOST / 1e6} are wanted`);
}
console.log(
  `${file}: ${(size / 1e6).toFixed(1)} MB; there: tar xzf it, then bash g2rpo-gpu/scripts/gpu-run.sh results.txt`,
);
