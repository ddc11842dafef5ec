import { readFileSync } from 'node:fs';
import type { Checks } from '../checks.ts';
import type { ModelFolder } from '../modelFolder.ts';
import { sha256 } from '../values.ts';

/** `SHA256SUMS`: the files that are there are those that were meant. */
export async function sums(folder: ModelFolder, file: string, checks: Checks): Promise<void> {
  const lines = readFileSync(folder.path(file), 'utf8').trimEnd().split('\n');
  await checks.run('sums', (check) => {
    for (const line of lines) {
      const [hash, name] = line.split(/ [ *]/) as [string, string];
      if (!folder.has(name)) continue;
      check.same(name, hash, sha256(readFileSync(folder.path(name))));
    }
  });
}
