import { readFileSync, readdirSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = resolve(fileURLToPath(import.meta.url), '../../..');

/** Files below a folder of the checkout that end in one of the endings, by name, as paths from the checkout. */
export function filesBelow(folder: string, ...endings: string[]): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && endings.some((ending) => entry.name.endsWith(ending)))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort();
}

export const textOf = (path: string): string => readFileSync(join(root, path), 'utf8');

/** gaussian_advantage → gaussianAdvantage */
export const camelCase = (op: string): string => op.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
