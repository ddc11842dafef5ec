// The package's install script: a prebuild that loads is enough; else the addon is built; else one clear sentence.
import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
// In a checkout `npm start`, `npm test` and `npm run build` build what they need.
if (!existsSync(join(root, 'tsconfig.json'))) {
  let reason;
  try {
    createRequire(import.meta.url)('node-gyp-build')(root);
  } catch (error) {
    reason = error.message.split('\n')[0];
  }
  if (reason) {
    console.log(`g2rpo: no prebuilt addon for ${process.platform}-${process.arch} loads here (${reason}); building it`);
    const { buildNative } = await import('./native.mjs');
    if (!buildNative({ verbose: false })) process.exit(1);
  }
}
