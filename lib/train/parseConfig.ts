import { isAbsolute, resolve } from 'node:path';
import type { z } from 'zod';
import { G2rpoError, nearestName } from '../runtime/errors.ts';

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** snake_case and kebab-case are our camelCase. */
const camel = (key: string) => key.replace(/[_-]([a-z0-9])/g, (_, c: string) => c.toUpperCase());

export interface ParseOptions {
  /** dotted keys of other systems (in camelCase) and ours */
  aliases?: ReadonlyMap<string, string>;
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
  { aliases = new Map(), paths = [], baseDir = '.' }: ParseOptions = {},
): z.output<S> {
  const { config: named, problems } = canonicalConfig(input, aliases);
  const parsed = schema.safeParse(named, { reportInput: true });
  if (!parsed.success) problems.push(...parsed.error.issues.flatMap((issue) => describe(issue, schema)));
  if (problems.length > 0)
    throw new G2rpoError(
      'INVALID_CONFIG',
      problems.length === 1 ? problems[0]! : `${problems.length} problems:\n  ${problems.join('\n  ')}`,
      {
        problems,
      },
    );
  const config = parsed.data as Json;
  for (const path of paths) updateAt(config, path.split('.'), (value) => absolute(value, baseDir));
  return config as z.output<S>;
}

/** The same configuration under our names, and where one thing is said under two of them. */
export function canonicalConfig(
  input: unknown,
  aliases: ReadonlyMap<string, string>,
): { config: Record<string, unknown>; problems: string[] } {
  if (!isObject(input)) throw new G2rpoError('INVALID_CONFIG', 'the configuration must be a mapping of keys to values');
  const [config, problems]: [Json, string[]] = [renameKeys(input), []];
  applyAliases(config, aliases, problems);
  return { config, problems };
}

function renameKeys(value: unknown): Json {
  const rename = (v: unknown): unknown =>
    Array.isArray(v)
      ? v.map(rename)
      : isObject(v)
        ? Object.fromEntries(Object.entries(v).map(([k, x]) => [camel(k), rename(x)]))
        : v;
  return rename(value) as Json;
}

/** Moves what stands under another system's key to ours; both at once is a problem. */
function applyAliases(config: Json, aliases: ReadonlyMap<string, string>, problems: string[]): void {
  for (const [theirs, ours] of aliases) {
    const value = takeAt(config, theirs.split('.'));
    if (value === undefined) continue;
    if (getAt(config, ours.split('.')) !== undefined)
      problems.push(`${theirs} and ${ours} say the same; give one of them`);
    else setAt(config, ours.split('.'), value);
  }
}

function getAt(config: Json, path: readonly string[]): unknown {
  let at: unknown = config;
  for (const key of path) at = isObject(at) ? at[key] : undefined;
  return at;
}

function takeAt(config: Json, [key, ...rest]: readonly string[]): unknown {
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

function setAt(config: Json, [key, ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) config[key!] = value;
  else setAt((config[key!] = isObject(config[key!]) ? config[key!] : {}) as Json, rest, value);
}

function updateAt(config: Json, path: readonly string[], f: (value: unknown) => unknown): void {
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

function describe(issue: z.core.$ZodIssue, schema: z.ZodType): string[] {
  const at = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => {
      const near = nearestName(key, knownKeys(schema, issue.path.map(String)));
      return `${[at, key].filter(Boolean).join('.')}: there is no such key${near ? `; did you mean ${[at, near].filter(Boolean).join('.')}?` : ''}`;
    });
  const given = issue.input === undefined ? '' : `; got ${JSON.stringify(issue.input)}`;
  return [`${at || 'the configuration'}: ${wanted(issue)}${given}`];
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
