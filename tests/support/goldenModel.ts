import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Absolute path of a file or folder of the golden data of the policy. */
export function goldenPath(name: string): string {
  return fileURLToPath(new URL(`../golden/model/${name}`, import.meta.url));
}

/** A golden JSON file. Its shape is described in the README of the folder; the caller says which part it reads. */
export function goldenJson<T>(name: string): T {
  return JSON.parse(readFileSync(goldenPath(name), 'utf8')) as T;
}
