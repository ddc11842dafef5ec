import { format, resolveConfig } from 'prettier';
import { referenceTables } from '../../lib/report/configReference.ts';
import { configKeys, CONFIGURATIONS, type ConfigKey } from '../../lib/train/configReference.ts';

export const PAGE = 'docs/configuration.md';

const ABOUT = {
  train: 'Training: `train`, `eval`, `calibrate`, `plan`',
  sft: 'A cold start: `sft`',
  ablate: 'An ablation: `ablate`',
};

/** docs/configuration.md: every key, from the declarations. */
export async function configurationPage(): Promise<string> {
  const sources: string[] = [];
  const told = new Map<string, string>();
  const parts = CONFIGURATIONS.flatMap((name) => {
    const keys = configKeys(name);
    const same = keys.filter((key) => told.get(key.key) === JSON.stringify(key));
    const own = keys.filter((key) => !same.includes(key));
    for (const key of own) told.set(key.key, JSON.stringify(key));
    return [`## ${ABOUT[name]}`, ...(same.length > 0 ? [alike(same)] : []), referenceTables(own, sources)];
  });
  const text = `# Every key of a configuration

Made from the declarations by \`npm run docs:config\`; \`g2rpo config\` says the same on a terminal, \`g2rpo train FILE --print-config\` the values that a file comes to.
Keys may be in camel, kebab or snake case, and many of EasyR1's and verl's are known. "–" is a key that is not there unless it is given, {} a group of keys with
defaults of their own. Numbers in brackets say where a default is from; all others are ours.

${parts.join('\n\n')}

## Sources

${sources.map((source, i) => `${i + 1}. ${source}`).join('\n')}
`;
  return format(text, { ...(await resolveConfig(PAGE)), parser: 'markdown' });
}

const alike = (keys: readonly ConfigKey[]): string =>
  `As in training: ${keys.map(({ key }) => `\`${key}\``).join(', ')}.`;
