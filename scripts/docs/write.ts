import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../lib/runtime/native.ts';
import { configurationPage, PAGE } from './configurationPage.ts';

writeFileSync(join(packageRoot, PAGE), await configurationPage());
console.log(`docs: wrote ${PAGE}`);
