import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { commands } from '../../lib/cli/commands/index.ts';
import { loadTrainConfig } from '../../lib/train/config.ts';
import { configurationPage, PAGE } from '../../scripts/docs/configurationPage.ts';
import { filesBelow, root, textOf } from './files.ts';

const readme = textOf('README.md');
const block = (language: string): string => new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, 'm').exec(readme)![1]!;

it('shows the example that is run when the package is tested', () => {
  expect(block('js')).toBe(textOf('docs/examples/advantages.mjs'));
});

it('shows a configuration that is one', () => {
  expect(loadTrainConfig(parse(block('yaml'))).train.steps).toBe(100);
});

it('names every command, and every other page there is', () => {
  for (const name of Object.keys(commands.commands)) expect(readme).toMatch(new RegExp(`\`(data )?${name}\\b`));
  for (const page of ['README.md', 'docs/README.md'])
    for (const [, link] of textOf(page).matchAll(/\]\(([^):]+)\)/g))
      expect(existsSync(join(root, page, '..', link!)), `${page}: ${link}`).toBe(true);
});

it('links from every page of the package to files that the package has', () => {
  const { files } = JSON.parse(textOf('package.json')) as { files: string[] };
  const has = (path: string) =>
    ['README.md', 'LICENSE', 'package.json'].includes(path) ||
    files.some((each) => path === each || path.startsWith(`${each}/`));
  const pages = ['README.md', ...filesBelow('docs', '.md'), ...filesBelow('bench/results', '.md')];
  expect(pages).toContain('docs/configuration.md');
  for (const page of pages)
    for (const [, link] of textOf(page).matchAll(/\]\(([^):#]+)(?:#[^)]*)?\)/g)) {
      const path = relative(root, join(root, page, '..', link!));
      expect(existsSync(join(root, path)) && has(path), `${page}: ${link}`).toBe(true);
    }
});

it('has a reference of all keys that is made from their declarations', async () => {
  expect(textOf(PAGE), 'npm run docs:config makes it anew').toBe(await configurationPage());
});

it('names scripts that are there', () => {
  const { scripts } = JSON.parse(textOf('package.json')) as { scripts: Record<string, string> };
  for (const page of ['README.md', 'docs/README.md'])
    for (const [, name] of textOf(page).matchAll(/npm run ([\w:]+)/g)) expect(scripts, page).toHaveProperty([name!]);
});
