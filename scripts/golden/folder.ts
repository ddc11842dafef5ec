import { existsSync, readFileSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readCases, type GoldenCase, type Real } from './case.ts';
import { multiples } from './compare.ts';
import { judge } from './judge.ts';

export interface FileReport {
  file: string;
  cases: number;
  /** cases that were judged, and those that were exempt */
  counts: Record<Real, { passed: number; failed: number; exempt: number }>;
  /** the largest error that was within its tolerance or not, as a multiple of it */
  worst: Record<Real, { multiple: number; where: string }>;
  /** a line each */
  failures: string[];
}

/** Why a folder cannot be run, as a sentence. */
export class FolderError extends Error {}

const SHOWN = 3; // failures of one case

/**
 * Runs every case of every JSON file of a folder and of the folders in it.
 *
 * @param onFile  is told of every file as soon as it is done
 * @param onLeftOut  is told of every folder in it that is not walked, and why
 * @param only  a part of the paths of the files to run
 * @throws FolderError  there is no such folder, or it has no JSON file, or none of that path
 */
export async function runFolder(
  folder: string,
  onFile: (report: FileReport) => void,
  onLeftOut: (folder: string, why: string) => void = () => undefined,
  only = '',
): Promise<FileReport[]> {
  const files = chosen(filesOf(folder, onLeftOut), only, folder);
  const reports = [];
  for (const file of files) {
    const report = await runFile(folder, file);
    onFile(report);
    reports.push(report);
  }
  return reports;
}

/** The files whose path has a text in it. @throws FolderError  there is none */
export function chosen(files: string[], only: string, folder: string): string[] {
  const those = files.filter((file) => file.includes(only));
  if (those.length === 0) throw new FolderError(`${folder} has no file with ${only} in its path`);
  return those;
}

/** JSON files by their paths in the folder, sorted. */
function filesOf(folder: string, onLeftOut: (folder: string, why: string) => void): string[] {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) throw new FolderError(`${folder} is no folder`);
  const [files, folders] = [[] as string[], [] as string[]];
  const walked = new Set<string>();
  const walk = (path: string): void => {
    walked.add(realpathSync(join(folder, path)));
    const names = readdirSync(join(folder, path)).sort();
    if (names.includes('checkpoints')) {
      return onLeftOut(path, 'it has checkpoints/, so it is golden data of a model, which runs by itself');
    }
    for (const name of names) {
      const inner = join(path, name);
      if (statSync(join(folder, inner), { throwIfNoEntry: false })?.isDirectory()) {
        folders.push(inner);
        // a link may lead back to where it stands
        if (!walked.has(realpathSync(join(folder, inner)))) walk(inner);
      } else if (/\.json$/i.test(name)) files.push(inner);
    }
  };
  walk('');
  if (files.length === 0)
    throw new FolderError(`${folder} has no JSON file${folders.length ? `, nor have ${folders.join(', ')}` : ''}`);
  return files;
}

async function runFile(folder: string, file: string): Promise<FileReport> {
  const none = () => ({ passed: 0, failed: 0, exempt: 0 });
  const report: FileReport = {
    file,
    cases: 0,
    counts: { f64: none(), f32: none() },
    worst: { f64: { multiple: 0, where: '' }, f32: { multiple: 0, where: '' } },
    failures: [],
  };
  let cases: GoldenCase[];
  try {
    cases = readCases(readFileSync(join(folder, file), 'utf8'));
  } catch (error) {
    report.failures.push(`${file}: ${(error as Error).message}`);
    return report;
  }
  report.cases = cases.length;
  report.failures.push(...repeated(cases));
  for (const golden of cases)
    for (const verdict of await judge(golden)) {
      const counts = report.counts[verdict.real];
      if ('exempt' in verdict) {
        counts.exempt++;
        continue;
      }
      const { worst, where, failures } = verdict;
      if (worst > report.worst[verdict.real].multiple)
        report.worst[verdict.real] = { multiple: worst, where: `${golden.name} ${where}`.trim() };
      counts[failures.length ? 'failed' : 'passed']++;
      const more = failures.length > SHOWN ? [`and ${failures.length - SHOWN} more`] : [];
      for (const failure of [...failures.slice(0, SHOWN), ...more])
        report.failures.push(`${golden.name} (${verdict.real}): ${failure}`);
    }
  return report;
}

/** A case whose name another has is not to be told from it, and may be a copy that was meant to be another. */
function repeated(cases: readonly GoldenCase[]): string[] {
  const places = new Map<string, number[]>();
  cases.forEach(({ name }, i) => places.set(name, [...(places.get(name) ?? []), i]));
  return [...places]
    .filter(([, at]) => at.length > 1)
    .map(([name, at]) => `${name}: every case must have a name of its own; cases ${at.join(' and ')} have this one`);
}

/** A file in one line. */
export function lineOf({ file, cases, counts, worst }: FileReport, width = 0): string {
  const parts = (['f64', 'f32'] as const).map((real) => {
    const { passed, failed, exempt } = counts[real];
    const { multiple, where } = worst[real];
    const count = [`${passed} pass`, ...(failed ? [`${failed} fail`] : []), ...(exempt ? [`${exempt} exempt`] : [])];
    return `${real} ${count.join(', ')}${where ? `, worst ${multiples(multiple)} at ${where}` : ''}`;
  });
  return `${file.padEnd(width)}  ${cases} cases  ${parts.join('; ')}`;
}
