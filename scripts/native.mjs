// Builds the native addon: cmake-js if it is installed, else plain cmake. Says why and exits 1 if neither can.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);

const has = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;

function missingTools() {
  const { CXX } = process.env;
  const compiler = CXX ? has(CXX.split(' ')[0]) : has('c++') || has('g++') || has('clang++');
  return [
    !has('cmake') && 'cmake',
    !has('ninja') && !has('make') && 'make or ninja',
    !compiler && (CXX ? `the compiler that CXX names (${CXX})` : 'a C++20 compiler (g++ or clang++)'),
  ].filter(Boolean);
}

/** What a checkout that was moved or copied remembers of its old place makes cmake refuse to build. */
function forgetOtherPlace(folder) {
  const cache = join(folder, 'CMakeCache.txt');
  const home = existsSync(cache) && /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, 'utf8'))?.[1];
  if (!home || home === root) return;
  rmSync(cache);
  rmSync(join(folder, 'CMakeFiles'), { recursive: true, force: true });
}

function cmakeJs() {
  try {
    return join(dirname(require.resolve('cmake-js/package.json')), 'bin', 'cmake-js');
  } catch {
    return undefined;
  }
}

/**
 * @param {{ options?: Record<string, string>, folder?: string, verbose?: boolean }} [settings]
 *   cmake options, where to build, and whether to show what the compilers say when nothing is wrong
 */
export function buildNative({ options = {}, folder = 'build', verbose = true } = {}) {
  const missing = missingTools();
  if (missing.length > 0) {
    const them = missing.length > 1 ? 'them' : 'it';
    console.error(
      `g2rpo: building the native addon needs ${missing.join(' and ')}; install ${them} and run \`npm run build:native\``,
    );
    return false;
  }
  const call = (command, args) => {
    const stdio = verbose ? 'inherit' : 'pipe';
    const { status, stdout, stderr, error } = spawnSync(command, args, {
      cwd: root,
      stdio,
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
    });
    if (status !== 0 && !verbose) process.stderr.write(`${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}`);
    return status === 0;
  };
  const out = resolve(root, folder);
  const defines = Object.entries({ CMAKE_BUILD_TYPE: 'Release', ...options });
  const parallel = ['--parallel', String(availableParallelism())];
  forgetOtherPlace(out);
  let built;
  const driver = cmakeJs();
  if (driver) {
    const args = ['--out', folder, '--log-level', 'error', ...parallel, ...defines.map(([k, v]) => `--CD${k}=${v}`)];
    built = ['configure', 'build'].every((step) => call(process.execPath, [driver, step, ...args]));
  } else {
    const includes = ['node-api-headers', 'node-addon-api'].map((name) => resolve(require(name).include_dir));
    const all = [
      ...defines,
      ['G2RPO_NODE_INCLUDES', includes.join(';')],
      ['CMAKE_LIBRARY_OUTPUT_DIRECTORY', `${out}/Release`],
    ];
    built =
      call('cmake', ['-S', root, '-B', out, ...all.map(([k, v]) => `-D${k}=${v}`)]) &&
      call('cmake', ['--build', out, ...parallel]);
  }
  if (built && existsSync(join(out, 'Release', 'g2rpo.node'))) return true;
  console.error('g2rpo: the native addon could not be built; the messages above say why');
  return false;
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const given = process.argv.slice(2);
  const options = given
    .filter((arg) => arg.startsWith('-D'))
    .map((arg) => /^-D([^=]+)=(.*)$/.exec(arg)?.slice(1) ?? []);
  const folder = given.find((arg) => arg.startsWith('--out='))?.slice('--out='.length);
  process.exit(buildNative({ options: Object.fromEntries(options), ...(folder && { folder }) }) ? 0 : 1);
}
