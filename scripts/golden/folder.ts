import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
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
 * Runs every case of every JSON file of a folder.
 *
 * @param onFile  is told of every file as soon as it is done
 * @throws FolderError  there is no such folder, or it has no JSON file
 */
export async function runFolder(folder: string, onFile: (report: FileReport) => void): Promise<FileReport[]> {
  const files = filesOf(folder);
  const reports = [];
  for (const file of files) {
    const report = await runFile(folder, file);
    onFile(report);
    reports.push(report);
  }
  return reports;
}

function filesOf(folder: string): string[] {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) throw new FolderError(`${folder} is no folder`);
  const entries = readdirSync(folder, { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  const files = entries.filter((entry) => !entry.isDirectory() && entry.name.endsWith('.json')).map(({ name }) => name);
  if (files.length === 0)
    throw new FolderError(`${folder} has no JSON file${folders.length ? `; it has ${folders.sort().join(', ')}` : ''}`);
  return files.sort();
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
