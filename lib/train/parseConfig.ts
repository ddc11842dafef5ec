import { isAbsolute, resolve } from 'node:path';
import type { z } from 'zod';
import { G2rpoError, nearestName } from '../runtime/errors.ts';

/** Keys and values, as they are written. */
export type ConfigTree = Record<string, unknown>;
const isObject = (value: unknown): value is ConfigTree =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** snake_case and kebab-case are our camelCase. */
export const camelCase = (key: string): string => key.replace(/[_-]([a-z0-9])/g, (_, c: string) => c.toUpperCase());

/** How others spell a configuration of ours. Dotted keys are in camelCase. */
export interface Spelling {
  /** their keys, and ours */
  names: ReadonlyMap<string, string>;
  /** by a key of ours, their values and ours */
  values?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** keys of ours under which names stand that are no keys */
  named?: readonly string[];
  /** rewrites what is more than another name, before names are; adds problems to the list */
  switches?: (config: ConfigTree, problems: string[]) => void;
}
const OURS: Spelling = { names: new Map() };

export interface ParseOptions {
  spelling?: Spelling;
  /** fills in what stands under what is written, keys in our spelling */
  complete?: (config: ConfigTree) => ConfigTree;
  /** dotted keys that hold a path or a list of paths, taken relative to `baseDir` */
  paths?: readonly string[];
  /** folder of the configuration file; default the working directory */
  baseDir?: string;
}

/**
 * The configuration that an object describes, defaults filled in. Keys may be in snake, kebab or camel case, and some of EasyR1's
 * and verl's spellings are known.
 *
 * @throws INVALID_CONFIG  every problem at once: unknown keys with the nearest right name, values outside their domain
 */
export function parseConfig<S extends z.ZodType>(
  schema: S,
  input: unknown,
  { spelling = OURS, complete = (written) => written, paths = [], baseDir = '.' }: ParseOptions = {},
): z.output<S> {
  const { config: written, problems } = canonicalConfig(input, spelling);
  const parsed = schema.safeParse(complete(written), { reportInput: true });
  if (!parsed.success) problems.push(...parsed.error.issues.flatMap((issue) => describe(issue, schema, spelling)));
  if (problems.length > 0) throw invalidConfig(problems);
  const config = parsed.data as ConfigTree;
  for (const path of paths) updateAt(config, path.split('.'), (value) => absolute(value, baseDir));
  return config as z.output<S>;
}

/** All that is wrong with a configuration, in one error. */
export const invalidConfig = (problems: readonly string[]): G2rpoError =>
  new G2rpoError(
    'INVALID_CONFIG',
    problems.length === 1 ? problems[0]! : `${problems.length} problems:\n  ${problems.join('\n  ')}`,
    { problems },
  );

/** The same configuration in our spelling, and where one thing is said under two names. */
export function canonicalConfig(
  input: unknown,
  { names, values = {}, named = [], switches }: Spelling = OURS,
): { config: ConfigTree; problems: string[] } {
  if (!isObject(input)) throw new G2rpoError('INVALID_CONFIG', 'the configuration must be a mapping of keys to values');
  const [config, problems] = [renameKeys(input, [], named) as ConfigTree, [] as string[]];
  switches?.(config, problems);
  applyNames(config, names, problems);
  for (const [key, ours] of Object.entries(values))
    updateAt(config, key.split('.'), (value) => (isObject(value) ? value : (ownValue(ours, String(value)) ?? value)));
  return { config, problems };
}

const ownValue = (of: Readonly<Record<string, unknown>>, key: string): unknown =>
  Object.hasOwn(of, key) ? of[key] : undefined;

function renameKeys(value: unknown, path: readonly string[], named: readonly string[]): unknown {
  if (Array.isArray(value)) return value.map((each) => renameKeys(each, path, named));
  if (!isObject(value)) return value;
  const keep = named.includes(path.join('.'));
  return Object.fromEntries(
    Object.entries(value).map(([given, inner]) => {
      const key = keep ? given : camelCase(given);
      return [key, renameKeys(inner, [...path, key], named)];
    }),
  );
}

/** Moves what stands under another system's key to ours; both at once is a problem. */
function applyNames(config: ConfigTree, names: ReadonlyMap<string, string>, problems: string[]): void {
  for (const [theirs, ours] of names) {
    const value = takeAt(config, theirs.split('.'));
    if (value === undefined) continue;
    if (getAt(config, ours.split('.')) !== undefined)
      problems.push(`${theirs} and ${ours} say the same; give one of them`);
    else setAt(config, ours.split('.'), value);
  }
}

export function getAt(config: ConfigTree, path: readonly string[]): unknown {
  let at: unknown = config;
  for (const key of path) at = isObject(at) ? at[key] : undefined;
  return at;
}

/** Takes a value away, and the groups of keys that are empty without it. */
export function takeAt(config: ConfigTree, [key, ...rest]: readonly string[]): unknown {
  const inner = config[key!];
  if (inner === undefined) return undefined;
  if (rest.length === 0) {
    Reflect.deleteProperty(config, key!);
    return inner;
  }
  if (!isObject(inner)) return undefined;
  const value = takeAt(inner, rest);
  if (value !== undefined && Object.keys(inner).length === 0) Reflect.deleteProperty(config, key!);
  return value;
}

export function setAt(config: ConfigTree, [key, ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) config[key!] = value;
  else setAt((config[key!] = isObject(config[key!]) ? config[key!] : {}) as ConfigTree, rest, value);
}

function updateAt(config: ConfigTree, path: readonly string[], f: (value: unknown) => unknown): void {
  const value = getAt(config, path);
  if (value !== undefined) setAt(config, path, f(value));
}

const absolute = (value: unknown, dir: string): unknown =>
  typeof value === 'string'
    ? isAbsolute(value)
      ? value
      : resolve(dir, value)
    : Array.isArray(value)
      ? value.map((v) => absolute(v, dir))
      : value;

function describe(issue: z.core.$ZodIssue, schema: z.ZodType, { names }: Spelling): string[] {
  const at = issue.path.map(String).join('.');
  const below = (key: string) => [at, key].filter(Boolean).join('.');
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => {
      const near = nearestName(key, knownKeys(schema, issue.path.map(String)));
      const ours = sameElsewhere(key, at, names) ?? (near === undefined ? undefined : below(near));
      return `${below(key)}: there is no such key${ours ? `; did you mean ${ours}?` : ''}`;
    });
  const said = issue.input === undefined || issue.message.includes('; got ');
  const given = said ? '' : `; got ${typeof issue.input === 'number' ? issue.input : JSON.stringify(issue.input)}`;
  return [`${at || 'the configuration'}: ${wanted(issue)}${given}`];
}

/** Our key for what others call so at some place of theirs, if it stands in the same group of ours: `lr` of an optimizer is `learningRate`. */
function sameElsewhere(key: string, at: string, names: Spelling['names']): string | undefined {
  const found = [...names].filter(([theirs, ours]) => theirs.split('.').at(-1) === key && ours.startsWith(`${at}.`));
  return found[0]?.[1];
}

/** Says what was wanted; what came is said behind it. */
function wanted(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type')
    return issue.input === undefined ? 'is missing' : `must be ${KINDS[issue.expected] ?? issue.expected}`;
  if (issue.code === 'invalid_value') return `must be ${issue.values.map(String).join(' or ')}`;
  return issue.message;
}
const KINDS: Record<string, string> = {
  int: 'a whole number',
  number: 'a number',
  string: 'text',
  boolean: 'true or false',
  array: 'a list',
  object: 'a group of keys',
};

/** The keys that a schema has at a path, through defaults, options and unions. */
function knownKeys(schema: z.ZodType, path: readonly string[]): string[] {
  let found = [schema as unknown as Definition];
  for (const key of path) found = found.flatMap((s) => shapes(s)).flatMap((shape) => (shape[key] ? [shape[key]] : []));
  return found.flatMap((s) => shapes(s)).flatMap((shape) => Object.keys(shape));
}

/** The parts of a zod schema that are walked here. */
interface Definition {
  shape?: Record<string, Definition>;
  def: { innerType?: Definition; out?: Definition; element?: Definition; options?: Definition[] };
}
function shapes(schema: Definition): Record<string, Definition>[] {
  if (schema.shape) return [schema.shape];
  const { innerType, out, element, options = [] } = schema.def;
  return [innerType, out, element, ...options].filter((s) => s !== undefined).flatMap(shapes);
}
