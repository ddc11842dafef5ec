import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { ModelFolder } from '../../scripts/golden/model/modelFolder.ts';
import { checksOf } from '../../scripts/golden/model/walk.ts';

/** Absolute path of a file or folder of the golden data of the policy. */
export function goldenPath(name: string): string {
  return fileURLToPath(new URL(`../golden/model/${name}`, import.meta.url));
}

/** A golden JSON file. Its shape is described in the README of the folder; the caller says which part it reads. */
export function goldenJson<T>(name: string): T {
  return JSON.parse(readFileSync(goldenPath(name), 'utf8')) as T;
}

/** A test per file of golden data: what `npm run golden` finds of it. */
export function testGolden(...files: string[]): void {
  const folder = new ModelFolder(goldenPath(''));
  afterAll(() => folder.close());
  it.each(files)('golden values: %s', async (file) => {
    const checks = await checksOf(folder, file);
    expect(checks.flatMap(({ name, failures }) => failures.map((failure) => `${name}: ${failure}`))).toEqual([]);
    expect(checks.some(({ compared }) => compared > 0)).toBe(true);
  });
}
