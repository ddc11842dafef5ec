import { displayWidth, paintIn, wrapText, type Paint } from '../../report/displayText.ts';
import { formatTable } from '../../report/table.ts';
import { comparePresets, sameValue, type Difference } from '../../train/comparePresets.ts';
import { presetProblem, PRESETS, type Preset } from '../../train/presets.ts';
import { defineCommand } from '../command.ts';
import { usageError } from '../parse.ts';

const WIDTH = 100;

export const presets = defineCommand({
  description: 'show configurations that have a name, and how they differ',
  args: {
    names: { type: 'positional', description: 'one shows all of it, several how they differ', multiple: true },
  },
  notes:
    'A configuration takes one with preset: NAME, a command line with preset=NAME. What is written beside it wins.',
  async run({ names }, { stdout, environment }) {
    for (const name of names) {
      const problem = presetProblem(name);
      if (problem) throw usageError(`preset ${problem}; got ${name}`);
    }
    const paint = paintIn(stdout.isTTY === true && environment.color);
    const chosen = [...(names.length > 0 ? new Set(names) : PRESETS.keys())].map((name) => PRESETS.get(name)!);
    if (names.length === 0) stdout.write(`${summaries(chosen)}\n\n`);
    stdout.write(
      names.length === 1
        ? `${valuesOf(chosen[0]!, paint)}\n`
        : `${differences(chosen, comparePresets(chosen), paint)}\n`,
    );
    return 0;
  },
});

const summaries = (list: readonly Preset[]): string =>
  formatTable([['preset', 'what it is'], ...list.map(({ name, summary }) => [name, summary])], { right: () => false });

/** Values as a configuration would have them; what there is no key for is a dash. */
function text(value: unknown): string {
  if (value === undefined) return '–';
  if (Array.isArray(value)) return `[${value.map(text).join(', ')}]`;
  if (typeof value === 'number' && value !== 0 && Math.abs(value) < 1e-2) return value.toExponential();
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** Every value, below where it is from. */
function valuesOf({ name, summary, values }: Preset, paint: Paint): string {
  const width = Math.max(...values.map(([key]) => displayWidth(key)));
  const sources = [...new Set(values.map(([, , source]) => source))].map((source) => [
    ...wrapText(source, WIDTH).map((line) => paint('bold', line)),
    ...values.filter((each) => each[2] === source).map(([key, value]) => `  ${key.padEnd(width)}  ${text(value)}`),
  ]);
  return [`${name}: ${summary}`, ...sources.map((lines) => lines.join('\n'))].join('\n\n');
}

/** Tables of keys by presets, as many presets beside each other as fit; each has the keys in which one of its own differs. */
function differences(list: readonly Preset[], found: readonly Difference[], paint: Paint): string {
  const table = (columns: readonly number[], style?: Paint): string => {
    const rows = found.filter(({ usual, values }) => columns.some((column) => !sameValue(values[column], usual)));
    const cells = rows.map(({ key, usual, values }) => [
      ...[key, text(usual)],
      ...columns.map((column) => (sameValue(values[column], usual) ? '·' : text(values[column]))),
    ]);
    const heading = ['key', 'default', ...columns.map((column) => list[column]!.name)];
    return formatTable([heading, ...cells], { right: () => false, ...(style && { paint: style }) });
  };
  const fits = (columns: readonly number[]) => Math.max(...table(columns).split('\n').map(displayWidth)) <= WIDTH;
  const blocks: number[][] = [];
  list.forEach((_, column) => {
    const longer = [...(blocks.at(-1) ?? []), column];
    if (blocks.length > 0 && fits(longer)) blocks[blocks.length - 1] = longer;
    else blocks.push([column]);
  });
  return `${blocks.map((columns) => table(columns, paint)).join('\n\n')}\n\n· the default    – there is no such key`;
}
