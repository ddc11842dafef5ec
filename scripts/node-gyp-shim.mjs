#!/usr/bin/env node
// prebuildify calls node-gyp; this answers by building with cmake, the one description of the build. prebuildify strips what was built where it is
// and moves it away: it gets a copy, since processes that have loaded the addon would be ended by a change of its file.
import { copyFileSync, renameSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lock } from './lock.mjs';
import { buildNative } from './native.mjs';

const build = join(resolve(dirname(fileURLToPath(import.meta.url)), '..'), 'build');
const addon = join(build, 'Release', 'g2rpo.node');

const args = process.argv.slice(2);
if (args.includes('rebuild') || args.includes('build')) {
  const unlock = lock(join(build, '.setup-lock'));
  const built = buildNative({ verbose: false });
  if (built) {
    copyFileSync(addon, `${addon}.copy`);
    renameSync(`${addon}.copy`, addon);
  }
  unlock();
  process.exit(built ? 0 : 1);
}
