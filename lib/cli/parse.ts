import { parse as parseYaml } from 'yaml';
import { G2rpoError, nearestName } from '../runtime/errors.ts';
import type { Arg, Args, Override } from './command.ts';

/** A mistake on the command line; the process ends with code 2. */
export const usageError = (message: string): G2rpoError =>
  new G2rpoError('INVALID_ARGUMENT', message, { commandLine: true });

/** `print-config`, `printConfig` and `print_config` are one name. */
const canonical = (name: string): string => name.replaceAll(/[-_]/g, '').toLowerCase();
const PATH = /^[a-z][\w-]*(\.[\w-]+)*$/i;

/**
 * The arguments of a command, and the changes of the configuration if it takes them.
 *
 * @throws INVALID_ARGUMENT  a name that is not known, a value that is missing or of another kind, an argument too many
 */
export function parse(
  raw: readonly string[],
  args: Args,
  overridable = false,
): { values: Record<string, unknown>; overrides: Override[] } {
  const given = new Map<string, string[]>();
  const overrides: Override[] = [];
  const positionals: string[] = [];
  const names = new Map(Object.entries(args).map(([name, arg]) => [canonical(name), { name, ...arg }]));
  for (let i = 0; i < raw.length; i++) {
    const token = raw[i]!;
    const flag = /^--([^=]+)(?:=([^]*))?$/.exec(token) ?? aliased(token, args);
    if (!flag) {
      const change = overridable ? /^([^=]+)=([^]*)$/.exec(token) : null;
      if (change && PATH.test(change[1]!)) overrides.push(override(change[1]!, change[2]!));
      else if (token.startsWith('-') && token !== '-') throw unknown(token, args);
      else positionals.push(token);
      continue;
    }
    const [, name, attached] = flag as unknown as [string, string, string | undefined];
    const arg = names.get(canonical(name));
    if (arg?.type === 'boolean') {
      give(given, arg.name, attached ?? 'true');
      continue;
    }
    const known = arg && arg.type !== 'positional';
    if (!known && !(overridable && PATH.test(name))) throw unknown(`--${name}`, args);
    const value = attached ?? valueBehind(raw[++i], known ? `--${arg.name}` : `--${name}`, nearest(name, args));
    if (known) give(given, arg.name, value);
    else overrides.push(override(name, value));
  }
  const wanted = Object.entries(args).filter(([, { type }]) => type === 'positional');
  for (const [name, { multiple }] of wanted)
    for (let n = 0; positionals.length > 0 && (n === 0 || multiple); n++) give(given, name, positionals.shift()!);
  if (positionals.length > 0) throw usageError(`one argument too many: ${positionals[0]}`);
  return {
    values: Object.fromEntries(Object.entries(args).map(([name, arg]) => [name, valueOf(name, arg, given.get(name))])),
    overrides,
  };
}

function give(given: Map<string, string[]>, name: string, value: string): void {
  given.set(name, [...(given.get(name) ?? []), value]);
}

function aliased(token: string, args: Args): [string, string, string | undefined] | undefined {
  const name = Object.keys(args).find((each) => args[each]!.alias !== undefined && token === `-${args[each]!.alias}`);
  return name === undefined ? undefined : [token, name, undefined];
}

function valueBehind(next: string | undefined, name: string, near: string | undefined): string {
  if (next !== undefined && !next.startsWith('--')) return next;
  throw usageError(`${name} wants a value${near && name !== `--${near}` ? `; did you mean --${near}?` : ''}`);
}

function override(path: string, text: string): Override {
  try {
    return { path, value: parseYaml(text) as unknown };
  } catch (error) {
    throw usageError(`${path}: the value must be YAML; got ${text} (${(error as Error).message.split('\n')[0]})`);
  }
}

function nearest(name: string, args: Args): string | undefined {
  const flags = Object.keys(args).filter((each) => args[each]!.type !== 'positional');
  return nearestName(name, [...flags, 'help']);
}

function unknown(name: string, args: Args): G2rpoError {
  const near = name.startsWith('--') ? nearest(name.slice(2), args) : undefined;
  return usageError(`no option ${name}${near ? `; did you mean --${near}?` : ''}`);
}

function valueOf(name: string, arg: Arg, given: string[] | undefined): unknown {
  const label = arg.type === 'positional' ? `<${name}>` : `--${name}`;
  if (arg.type === 'boolean') return given === undefined ? false : flagOf(label, given.at(-1)!);
  if (given === undefined && arg.required) throw usageError(`${label} is missing: ${arg.description}`);
  if (arg.multiple) return given ?? [];
  if (given !== undefined && given.length > 1) throw usageError(`${label} was given ${given.length} times`);
  const text = given?.[0] ?? arg.default;
  return text !== undefined && arg.number ? numberOf(label, text, arg) : text;
}

function flagOf(label: string, text: string): boolean {
  if (text !== 'true' && text !== 'false') throw usageError(`${label} must be true or false; got ${text}`);
  return text === 'true';
}

function numberOf(label: string, text: string, { number: kind, least, above, most }: Arg): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (kind === 'whole' ? !Number.isSafeInteger(value) : Number.isNaN(value))
    throw usageError(`${label} must be a ${kind === 'whole' ? 'whole ' : ''}number; got ${text}`);
  const bounds = [
    ...(least === undefined ? [] : [{ holds: value >= least, words: `at least ${least}` }]),
    ...(above === undefined ? [] : [{ holds: value > above, words: `above ${above}` }]),
    ...(most === undefined ? [] : [{ holds: value <= most, words: `at most ${most}` }]),
  ];
  if (bounds.some(({ holds }) => !holds))
    throw usageError(`${label} must be ${bounds.map(({ words }) => words).join(' and ')}; got ${text}`);
  return value;
}
