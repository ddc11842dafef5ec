// Builds the native addon: cmake-js if it is installed, else plain cmake. Prints one line and exits 1 if neither can.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, copyFileSync, renameSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);

function folderOf(name) {
  return dirname(require.resolve(`${name}/package.json`));
}

function has(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

function call(command, args, verbose) {
  const r = spawnSync(command, args, { cwd: root, stdio: verbose ? 'inherit' : 'pipe', encoding: 'utf8' });
  if (r.status !== 0 && !verbose) process.stderr.write(`${r.stdout ?? ''}${r.stderr ?? ''}`);
  return r.status === 0;
}

/** @param {{ options?: Record<string, string>, folder?: string, verbose?: boolean }} [settings] */
export function buildNative({ options = {}, folder = 'build', verbose = true } = {}) {
  const missing = [
    !has('cmake') && 'cmake',
    !has(process.env.CXX ?? 'c++') && !has('g++') && 'a C++20 compiler (g++ or clang++)',
  ].filter(Boolean);
  if (missing.length) {
    console.error(
      `g2rpo: building the native addon needs ${missing.join(' and ')}; install ${missing.length > 1 ? 'them' : 'it'} and run \`npm run build:native\``,
    );
    return false;
  }
  const defines = Object.entries({ CMAKE_BUILD_TYPE: 'Release', ...options });
  let ok;
  let cmakeJs;
  try {
    cmakeJs = join(folderOf('cmake-js'), 'bin', 'cmake-js');
  } catch {
    cmakeJs = undefined;
  }
  if (cmakeJs) {
    const common = ['--out', folder, '--log-level', 'error', '--parallel', String(availableParallelism())];
    const flags = defines.map(([k, v]) => `--CD${k}=${v}`);
    ok =
      call(process.execPath, [cmakeJs, 'configure', ...common, ...flags], verbose) &&
      call(process.execPath, [cmakeJs, 'build', ...common, ...flags], verbose);
  } else {
    const includes = [require('node-api-headers').include_dir, require('node-addon-api').include_dir].map((d) =>
      resolve(root, d),
    );
    const flags = [...defines.map(([k, v]) => `-D${k}=${v}`), `-DG2RPO_NODE_INCLUDES=${includes.join(';')}`];
    ok =
      call('cmake', ['-S', root, '-B', join(root, folder), ...flags], verbose) &&
      call('cmake', ['--build', join(root, folder), '--parallel', String(availableParallelism())], verbose);
  }
  const release = join(root, folder, 'Release', 'g2rpo.node');
  const plain = join(root, folder, 'g2rpo.node');
  if (ok && !existsSync(release) && existsSync(plain)) {
    mkdirSync(dirname(release), { recursive: true });
    copyFileSync(plain, `${release}.new`);
    renameSync(`${release}.new`, release);
  }
  if (!ok || !existsSync(release)) {
    console.error('g2rpo: the native addon could not be built; the messages above say why');
    return false;
  }
  return true;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const options = Object.fromEntries(
    process.argv
      .slice(2)
      .filter((a) => a.startsWith('-D'))
      .map((a) => a.slice(2).split('=')),
  );
  const folder = process.argv.find((a) => a.startsWith('--out='))?.slice(6);
  process.exit(buildNative({ options, ...(folder && { folder }) }) ? 0 : 1);
}
