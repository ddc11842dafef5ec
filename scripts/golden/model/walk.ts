import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { multiples } from '../compare.ts';
import { chosen, FolderError } from '../folder.ts';
import { Checks, type Check, type Quantity } from './checks.ts';
import { ModelFolder } from './modelFolder.ts';
import { partFor } from './parts/index.ts';

export interface ModelReport {
  file: string;
  checks: readonly Check[];
}

export const isModelFolder = (dir: string): boolean => existsSync(join(dir, 'checkpoints'));

/**
 * Runs every case of a folder of golden data of a model.
 *
 * @param onFile  is told of every file as soon as it is done
 * @param only    a part of the paths of the files to run
 * @throws FolderError  it has no cases, or none of that path
 */
export async function walkModel(dir: string, onFile: (report: ModelReport) => void, only = ''): Promise<ModelReport[]> {
  const files = chosen(filesOf(dir), only, dir);
  const folder = new ModelFolder(dir);
  try {
    const reports = [];
    for (const file of files) {
      const report = { file, checks: await checksOf(folder, file) };
      onFile(report);
      reports.push(report);
    }
    return reports;
  } finally {
    await folder.close();
  }
}

/** Runs one file, by its path in the folder. */
export async function checksOf(folder: ModelFolder, file: string): Promise<readonly Check[]> {
  const checks = new Checks();
  const part = partFor(file);
  try {
    if (!part) throw new Error('no kind of case is called so');
    await part(folder, file, checks);
    if (checks.done.length === 0) throw new Error('it holds no case');
  } catch (error) {
    await checks.run('file', () => Promise.reject(error as Error));
  }
  return checks.done;
}

/** Sums and hashes first, then checkpoints, then cases, those of one checkpoint together. */
function filesOf(dir: string): string[] {
  const entries = (name: string) =>
    existsSync(join(dir, name)) ? readdirSync(join(dir, name), { withFileTypes: true }) : [];
  const below = (name: string) => entries(name).filter((e) => e.name.endsWith('.json')).map((e) => `${name}/${e.name}`).sort(); // prettier-ignore
  const folders = (name: string) => entries(name).filter((e) => !e.name.includes('.')).map((e) => e.name).sort(); // prettier-ignore
  const cases = [...below('cases'), ...folders('cases').flatMap((name) => below(`cases/${name}`))];
  if (cases.length === 0) throw new FolderError(`${dir} has checkpoints/, but no JSON file below cases/`);
  const first = ['SHA256SUMS', 'hashes.json'].filter((name) => existsSync(join(dir, name)));
  return [...first, ...folders('checkpoints').map((name) => `checkpoints/${name}`), ...cases];
}

/** How many checks passed, failed, or wait for a capability; what was compared; and the largest errors by quantity. */
export function countsOf(checks: readonly Check[]) {
  const worst = new Map<Quantity, { multiple: number; where: string }>();
  for (const check of checks)
    for (const [quantity, found] of check.worst)
      if (found.multiple >= (worst.get(quantity)?.multiple ?? 0))
        worst.set(quantity, { multiple: found.multiple, where: `${check.name}, ${found.where}` });
  const missing = checks.filter((check) => check.missing !== undefined).length;
  const failed = checks.filter(({ failures }) => failures.length > 0).length;
  const compared = checks.reduce((n, check) => n + check.compared, 0);
  return { passed: checks.length - missing - failed, failed, missing, compared, worst };
}

/** A file in one line. */
export function modelLine({ file, checks }: ModelReport, width = 0): string {
  const { passed, failed, missing, compared, worst } = countsOf(checks);
  const counts = [`${passed} pass`, ...(failed ? [`${failed} fail`] : []), ...(missing ? [`${missing} not run`] : [])];
  const [largest] = [...worst.values()].toSorted((a, b) => b.multiple - a.multiple);
  const error = largest ? `, worst ${multiples(largest.multiple)} at ${largest.where}` : '';
  return `${file.padEnd(width)}  ${counts.join(', ')}; ${compared} values${error}`;
}
