import { wrapText, type Paint } from './displayText.ts';

/** A key of a configuration; structurally that of the training room. */
export interface ShownKey {
  key: string;
  type: string;
  default?: unknown;
  required: boolean;
  source?: string;
  description: string;
  of?: readonly string[];
}

/** The default as a configuration would have it; that of a key which must be given, or is absent, in words. */
function defaultOf({ default: value, required }: ShownKey): string {
  if (required) return 'must be given';
  return value === undefined ? '–' : text(value);
}

function text(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(text).join(', ')}]`;
  if (typeof value === 'number' && value !== 0 && Math.abs(value) < 1e-2) return value.toExponential();
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

const about = ({ description, of }: ShownKey): string => `${description}${of ? ` (of ${of.join(', ')})` : ''}`;

/** Every key with its default; below, what it does, what it may be and where the default is from. */
export function referenceText(keys: readonly ShownKey[], width: number, paint: Paint): string {
  const indented = (line: string) => wrapText(line, width - 4).map((each) => `    ${each}`);
  return keys
    .flatMap((each) => [
      `${paint('bold', each.key)}: ${defaultOf(each)}`,
      ...indented(about(each)),
      ...indented(each.type).map((line) => paint('dim', line)),
      ...(each.source ? indented(`default: ${each.source}`).map((line) => paint('dim', line)) : []),
    ])
    .join('\n');
}

/** The same as tables of a page, one for each group of keys, and behind them what the numbers of sources stand for. */
export function referenceTables(keys: readonly ShownKey[], sources: string[]): string {
  const groups = new Map<string, ShownKey[]>();
  for (const each of keys) {
    const group = /^[^.[]+(?=[.[])/.exec(each.key)?.[0] ?? (isGroup(each, keys) ? each.key : '');
    groups.set(group, [...(groups.get(group) ?? []), each]);
  }
  const numbered = ({ source }: ShownKey) => {
    if (source === undefined) return '';
    if (!sources.includes(source)) sources.push(source);
    return ` [${sources.indexOf(source) + 1}]`;
  };
  return [...groups]
    .map(([group, list]) =>
      [
        ...(group ? [`### ${group}`, ''] : []),
        '| key | default | what it does | what it may be |',
        '| --- | --- | --- | --- |',
        ...list.map(
          (each) =>
            `| ${[code(each.key), cell(defaultOf(each)) + numbered(each), cell(about(each)), cell(each.type)].join(' | ')} |`,
        ),
      ].join('\n'),
    )
    .join('\n\n');
}

/** Whether other keys stand below it. */
const isGroup = ({ key }: ShownKey, keys: readonly ShownKey[]) =>
  keys.some((other) => other.key.startsWith(`${key}.`) || other.key.startsWith(`${key}[`));

const code = (key: string): string => `\`${key}\``;
/** Signs that a table, or its text, would take for its own. */
const cell = (words: string): string => words.replaceAll(/[|*_<>]/g, (sign) => `\\${sign}`);
