#!/usr/bin/env node
// prebuildify calls node-gyp; this answers by building with cmake, the one description of the build.
import { buildNative } from './native.mjs';

const args = process.argv.slice(2);
if (args.includes('rebuild') || args.includes('build')) process.exit(buildNative({ verbose: false }) ? 0 : 1);
