#!/usr/bin/env node
// The command line is compiled: in a checkout that has not been built yet there is something to say instead of nothing to find.
import { existsSync } from 'node:fs';

const main = new URL('../dist/cli/main.js', import.meta.url);
if (existsSync(main)) await import(main);
else {
  console.error('g2rpo: this checkout has not been built yet; npm start or npm run build does it');
  process.exitCode = 1;
}
