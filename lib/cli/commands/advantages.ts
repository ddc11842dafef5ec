import { createReadStream } from 'node:fs';
import { parse as parseYaml } from 'yaml';
import { advantages as compare } from '../../algorithms/functions/advantages.ts';
import { ESTIMATORS, estimatorNamed } from '../../algorithms/index.ts';
import { formatTable } from '../../report/table.ts';
import { G2rpoError } from '../../runtime/errors.ts';
import { defineCommand, type Io } from '../command.ts';
import { usageError } from '../parse.ts';
import { readRollouts, withField } from '../rolloutRows.ts';

const ROWS_AT_ONCE = 4096;

/** What rows call the lists of an estimator. */
const FIELDS: Readonly<Record<string, string>> = {
  rewards: 'reward',
  groupIds: 'group',
  groups: 'group',
  taskIds: 'task',
  tasks: 'task',
  tokenStarts: 'length',
  lengths: 'length',
  greedyRewards: 'greedy_reward',
};

export const advantages = defineCommand({
  description: 'say how much better than the others every rollout is: JSON lines in and out',
  args: {
    file: { type: 'positional', description: 'JSON lines; default standard input' },
    estimator: { type: 'string', description: 'how they are compared', valueHint: 'NAME', default: 'g2rpo' },
    set: {
      type: 'string',
      description: 'a setting of the estimator; may be given several times',
      valueHint: 'KEY=VALUE',
      multiple: true,
    },
    list: { type: 'boolean', description: 'list the estimators and their settings' },
  },
  notes: `A row is {"reward": 1, "group": "a"}, and where it matters "task", "length" in tokens, "components": {"accuracy": 1},
"greedy_reward". Rows of a group need not be neighbours. Each comes back with "advantage" added, a list for an estimator over tokens.
Where only the order of rewards matters (g2rpo, gaussian-gdpo) one may be Infinity or -Infinity; the others refuse it.`,
  async run({ file, estimator, set, list }, io) {
    if (list) return listEstimators(io);
    const settings = Object.fromEntries(set.map(settingOf));
    const choice = estimatorNamed(estimator);
    const { over } = choice.make(settings); // before anything is read
    const source = file ?? 'standard input';
    const input = file === undefined ? (io.stdin ?? process.stdin) : createReadStream(file);
    const { texts, lines, ...lists } = await readRollouts(input, source);
    const values = await compare(choice.name, lists, settings).catch((error: unknown) => {
      throw named(error, lines, source);
    });
    writeRows(io, texts, over === 'tokens' ? perRollout(values, lists.lengths!) : Array.from(values, String));
    return 0;
  },
});

function settingOf(text: string): [string, unknown] {
  const [, key, value] = /^([^=]+)=([^]*)$/.exec(text) ?? [];
  if (key === undefined) throw usageError(`--set must be KEY=VALUE; got ${text}`);
  try {
    return [key, parseYaml(value!) as unknown];
  } catch (error) {
    throw usageError(`--set ${key}: the value must be YAML; got ${value} (${(error as Error).message.split('\n')[0]})`);
  }
}

function listEstimators({ stdout }: Io): number {
  for (const { name, summary, settings } of ESTIMATORS.values()) {
    stdout.write(`${name}: ${summary}\n`);
    const rows = settings.map((each) => [`  ${each.name}`, JSON.stringify(each.default), each.description]);
    if (rows.length > 0)
      stdout.write(`${formatTable([['  setting', 'default', ''], ...rows], { right: () => false })}\n`);
    stdout.write('\n');
  }
  return 0;
}

/** The list of every rollout's tokens, as JSON. */
function perRollout(values: Float64Array, lengths: readonly number[]): string[] {
  let end = 0;
  return lengths.map((length) => `[${values.subarray(end, (end += length)).join(',')}]`);
}

function writeRows({ stdout }: Io, texts: readonly string[], values: string[]): void {
  for (let from = 0; from < texts.length; from += ROWS_AT_ONCE) {
    const rows = texts.slice(from, from + ROWS_AT_ONCE);
    stdout.write(rows.map((text, i) => `${withField(text, 'advantage', values[from + i]!)}\n`).join(''));
  }
}

/** An error of an estimator in the words of the rows, with the line that is to blame. */
function named(error: unknown, lines: readonly number[], source: string): unknown {
  if (!(error instanceof G2rpoError)) return error;
  const { argument, row, wanted, got } = error.details;
  const name = String(argument).replace(/\[\d+\]$/, ''); // which row it is, is said by the line
  const field = FIELDS[name] ?? name;
  if (typeof row === 'number') {
    const message = `${source}:${lines[row]}: ${field} ${String(wanted)}; got ${String(got)}`;
    return new G2rpoError(error.code, message, { ...error.details, field, line: lines[row] });
  }
  if (got !== 'none' || typeof argument !== 'string') return error;
  return new G2rpoError(error.code, `${source}: no row has ${field}, which the estimator needs`, { field });
}
