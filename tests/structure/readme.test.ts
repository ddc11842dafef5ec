import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { commands } from '../../lib/cli/commands/index.ts';
import { loadTrainConfig } from '../../lib/train/config.ts';
import { root, textOf } from './files.ts';

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

it('names scripts that are there', () => {
  const { scripts } = JSON.parse(textOf('package.json')) as { scripts: Record<string, string> };
  for (const page of ['README.md', 'docs/README.md'])
    for (const [, name] of textOf(page).matchAll(/npm run ([\w:]+)/g)) expect(scripts, page).toHaveProperty([name!]);
});
