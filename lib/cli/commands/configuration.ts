import type { ReadConfig } from '../../train/readConfig.ts';
import type { Io } from '../command.ts';

/** What commands that read a configuration have in common. */
export const configArgs = {
  config: { type: 'positional', description: 'YAML file', required: true },
  'print-config': { type: 'boolean', description: 'show every value and where it comes from, and end' },
  'dry-run': { type: 'boolean', description: 'check all that can be checked beforehand, and end' },
} as const;

export const configNotes = `Values can be changed behind the file: rollout.n=4, --rollout.n=4 or --rollout.n 4. They are YAML; keys may be in
camel, kebab or snake case, and many of EasyR1's and verl's are known.`;

/** Prints what was asked for instead of a run. False if a run was asked for. */
export async function onlyPreview<C>(
  values: { 'print-config': boolean; 'dry-run': boolean },
  read: ReadConfig<C>,
  preview: (config: C) => Promise<string[]>,
  { stdout }: Io,
): Promise<boolean> {
  const { formatConfig } = await import('../../train/readConfig.ts');
  if (values['print-config']) stdout.write(formatConfig(read));
  if (values['dry-run']) for (const line of await preview(read.config)) stdout.write(`${line}\n`);
  return values['print-config'] || values['dry-run'];
}
