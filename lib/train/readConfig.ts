import { dirname, resolve } from 'node:path';
import { Document, isCollection, isMap, isScalar, isSeq, type Node } from 'yaml';
import { G2rpoError } from '../runtime/errors.ts';
import { SPELLING } from './aliases.ts';
import { loadSftConfig, loadTrainConfig, PATHS, type SftConfig, type TrainConfig } from './config.ts';
import { canonicalConfig, type ConfigTree } from './parseConfig.ts';
import { presetUnder } from './presets.ts';
import { readYaml } from './yamlFile.ts';

/** A change of what a file says: `rollout.n`, in any spelling, and its value. List elements are named by their index. */
export interface ConfigChange {
  path: string;
  value: unknown;
}
export type Origin = 'default' | 'preset' | 'file' | 'command line';

/** A configuration, and where each of its values comes from, by dotted key. */
export interface ReadConfig<C> {
  config: C;
  origins: ReadonlyMap<string, Origin>;
}

/**
 * The configuration of a YAML file with changes. Paths in the file start at its folder, those in changes at the working
 * directory.
 *
 * @throws IO  the file cannot be read
 * @throws INVALID_CONFIG  all problems at once
 */
export const readTrainConfig = (file: string, changes: readonly ConfigChange[] = []): ReadConfig<TrainConfig> =>
  read(file, changes, loadTrainConfig, presetUnder);

/** The same for a cold start. @throws IO, INVALID_CONFIG  as `readTrainConfig` */
export const readSftConfig = (file: string, changes: readonly ConfigChange[] = []): ReadConfig<SftConfig> =>
  read(file, changes, loadSftConfig);

const isObject = (value: unknown): value is ConfigTree =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function read<C>(
  file: string,
  changes: readonly ConfigChange[],
  load: (input: unknown, baseDir: string) => C,
  under: (written: ConfigTree) => ReadonlyMap<string, unknown> = () => new Map(),
): ReadConfig<C> {
  const { config: written, problems } = canonicalConfig(readYaml(file, 'the configuration'), SPELLING);
  if (problems.length > 0) throw new G2rpoError('INVALID_CONFIG', `${file}: ${problems.join('\n')}`, { problems });
  const given = new Map([...leaves(written)].map(([path]): [string, Origin] => [path, 'file']));
  for (const { path, value } of changes) {
    const nested = path.split('.').reduceRight<unknown>((inner, key) => ({ [key]: inner }), value);
    const { config: change, problems } = canonicalConfig(nested, SPELLING);
    if (problems.length > 0) throw new G2rpoError('INVALID_CONFIG', problems.join('\n'), { problems });
    for (const [key, leaf] of leaves(change)) {
      setAt(written, key.split('.'), PATHS.includes(key) ? fromHere(leaf) : leaf);
      given.set(key, 'command line');
    }
  }
  for (const key of under(written).keys()) given.set(key, 'preset');
  const config = load(written, dirname(resolve(file)));
  const origins = [...leaves(config)].map(([path]): [string, Origin] => [path, given.get(path) ?? 'default']);
  return { config, origins: new Map(origins) };
}

/** Values that hold no further keys, by dotted key; a list of plain values is one value. */
function* leaves(value: unknown, path: string[] = []): Generator<[string, unknown]> {
  const inner = isObject(value) ? value : Array.isArray(value) && value.some(isObject) ? { ...value } : undefined;
  if (inner && Object.keys(inner).length > 0)
    for (const [key, each] of Object.entries(inner)) yield* leaves(each, [...path, key]);
  else if (path.length > 0 && value !== undefined) yield [path.join('.'), value];
}

/** Also changes elements of lists, by their index. */
function setAt(at: ConfigTree, [key, ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) at[key!] = value;
  else {
    if (typeof at[key!] !== 'object' || at[key!] === null) at[key!] = {};
    setAt(at[key!] as ConfigTree, rest, value);
  }
}

const fromHere = (value: unknown): unknown =>
  typeof value === 'string' ? resolve(value) : Array.isArray(value) ? value.map(fromHere) : value;

/** The whole configuration as YAML that can be read again, each value with its origin behind it. */
export function formatConfig({ config, origins }: ReadConfig<unknown>): string {
  const document = new Document(config);
  annotate(document.contents, [], origins);
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}

function annotate(node: unknown, path: string[], origins: ReadonlyMap<string, Origin>): void {
  const origin = origins.get(path.join('.'));
  if (origin !== undefined) {
    (node as Node).comment = ` ${origin}`;
    if (isCollection(node)) node.flow = true;
  } else if (isMap(node))
    for (const { key, value } of node.items)
      annotate(value, [...path, String(isScalar(key) ? key.value : key)], origins);
  else if (isSeq(node)) node.items.forEach((item, i) => annotate(item, [...path, String(i)], origins));
}
