import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readCases } from '../../scripts/golden/case.ts';
import { compare } from '../../scripts/golden/compare.ts';
import { runFolder, type FileReport } from '../../scripts/golden/folder.ts';
import { root } from '../structure/files.ts';
import { doctored, namesOn, numbersIn } from '../support/doctored.ts';

const golden = join(root, 'tests/golden/algorithms');
const files = readdirSync(golden).sort();
let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'g2rpo-golden-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

let folders = 0;
/** A folder with one file of these cases. */
function folderOf(cases: unknown, file = 'any_name.json'): string {
  const folder = join(dir, String(folders++));
  mkdirSync(folder);
  writeFileSync(join(folder, file), typeof cases === 'string' ? cases : JSON.stringify(cases));
  return folder;
}
const run = (folder: string): Promise<FileReport[]> => runFolder(folder, () => undefined);
const counts = (reports: FileReport[], real: 'f64' | 'f32') =>
  reports.reduce(
    (sum, { counts: { [real]: c } }) => ({
      passed: sum.passed + c.passed,
      failed: sum.failed + c.failed,
      exempt: sum.exempt + c.exempt,
    }),
    { passed: 0, failed: 0, exempt: 0 },
  );

it('all golden cases pass, in f64 and in f32', async () => {
  const reports = await run(golden);
  expect(reports.flatMap(({ failures }) => failures)).toEqual([]);
  expect(reports.map(({ file }) => file)).toEqual(files);
  expect(reports.reduce((sum, { cases }) => sum + cases, 0)).toBe(337);
  expect(counts(reports, 'f64')).toEqual({ passed: 337, failed: 0, exempt: 0 });
  expect(counts(reports, 'f32')).toEqual({ passed: 307, failed: 0, exempt: 30 });
});

describe('a changed number fails', () => {
  it.each(files)('%s: under every key of expected', async (file) => {
    // the seeds are larger than a double holds, so cases are doctored as text is read
    const cases = readCases(readFileSync(join(golden, file), 'utf8'));
    const seen = new Set<string>();
    const changed: object[] = [];
    for (const each of cases)
      for (const path of numbersIn(each.expected)) {
        const names = namesOn(path);
        if (seen.has(names) || names === 'at.index') continue; // an index is what is asked
        seen.add(names);
        const expected = doctored(each.expected, path);
        changed.push({ ...each, name: names, expected });
      }
    expect(changed.length).toBeGreaterThan(0);
    const text = JSON.stringify(changed, (_, v: unknown) =>
      typeof v === 'number' && !Number.isFinite(v) ? String(v) : v,
    ).replaceAll(/"seed":"(\d+)"/g, '"seed":$1');
    const [report] = await run(folderOf(text));
    expect(report!.counts.f64).toEqual({ passed: 0, failed: changed.length, exempt: 0 });
    for (const name of seen) expect(report!.failures.join('\n')).toContain(name);
  });
});

const tolerance = { rtol: 1e-9, atol: 1e-11 };
describe('what is no case, or none that is known', () => {
  it.each([
    [{ inputs: { answer: 42 }, expected: { z: 1 } }, 'no kind of case has the inputs answer'],
    [
      { inputs: { values: [1, 2], more: 1 }, expected: { scores: [0, 0] } },
      'no kind of case has the inputs values, more',
    ],
    [{ inputs: { values: [1] }, expected: { scores: [0], median: 0 } }, 'median: wanted a key that is known'],
    [{ inputs: { values: [1] }, expected: {} }, 'expected is empty'],
    [{ inputs: { values: [1, 2] }, expected: { scores: [0] } }, 'scores: wanted a list of 1; came one of 2'],
    [{ inputs: { values: [1, 2] }, expected: { error: 'NaN' } }, 'error: wanted'],
    [{ inputs: { values: ['NaN', 2] }, expected: { scores: [0, 0] } }, 'NON_FINITE'],
    [{ inputs: { values: 3 }, expected: { error: 'a list' } }, 'wanted a G2rpoError; came TypeError'],
  ])('%j', async (each, message) => {
    const [report] = await run(folderOf([{ name: 'x', tolerance, ...each }]));
    expect(report!.counts.f64).toEqual({ passed: 0, failed: 1, exempt: 0 });
    expect(report!.failures.join('\n')).toContain(message);
  });

  it.each([
    ['{}', 'must be a list of cases; got object'],
    ['[]', 'got an empty list'],
    ['[1]', 'case 0: must be an object; got number'],
    ['[{"name": "x", "inputs": {}, "expected": {}}]', 'case 0: tolerance must be an object; got none'],
    ['[{"name": "x", "inputs": {}, "expected": {}, "tolerance": {"rtol": 1}}]', 'tolerance.atol must be a number'],
    ['not JSON', 'JSON'],
  ])('a file that holds %s', async (text, message) => {
    const [report] = await run(folderOf(text));
    expect(report!.failures).toHaveLength(1);
    expect(report!.failures[0]).toContain(message);
  });
});

it('two cases of one name are a failure with the name', async () => {
  const one = { name: 'one', inputs: { values: [1, 1] }, expected: { scores: [0, 0] }, tolerance };
  const [report] = await run(folderOf([one, { ...one, name: 'two' }, one]));
  expect(report!.counts.f64).toEqual({ passed: 3, failed: 0, exempt: 0 });
  expect(report!.failures).toEqual(['one: every case must have a name of its own; cases 0 and 2 have this one']);
});

it('folders in the folder are walked, once each, but those of a model, which are named', async () => {
  const one = { name: 'one', inputs: { values: [1, 1] }, expected: { scores: [0, 0] }, tolerance };
  const folder = folderOf([one]);
  mkdirSync(join(folder, 'inner/more'), { recursive: true });
  mkdirSync(join(folder, 'model/checkpoints'), { recursive: true });
  symlinkSync(folder, join(folder, 'inner/back'));
  writeFileSync(join(folder, 'inner/more/bad.JSON'), JSON.stringify([{ ...one, expected: { scores: [1, 1] } }]));
  writeFileSync(join(folder, 'model/cases.json'), 'none of ours');
  const leftOut: string[] = [];
  const reports = await runFolder(folder, () => undefined, (inner) => leftOut.push(inner)); // prettier-ignore
  expect(reports.map(({ file, failures }) => [file, failures.length])).toEqual([
    ['any_name.json', 0],
    ['inner/more/bad.JSON', 2],
  ]);
  expect(leftOut).toEqual(['model']);
});

it('a comparison takes NaN and infinities for themselves alone, and a table with all its rows', () => {
  const failures = (wanted: unknown, came: unknown) =>
    compare(wanted, came, { rtol: 1, atol: 1 }, 'f64').failures.length;
  expect(failures([Number.NaN, Infinity, 0], [Number.NaN, Infinity, -0])).toBe(0);
  expect(failures([Number.NaN, Infinity, -Infinity, 1], [0, 1e308, Infinity, Number.NaN])).toBe(4);
  expect(failures({ a: 1 }, { a: 1, b: 2 })).toBe(0);
  expect(failures({ a: 1 }, new Map([['a', 1], ['b', 2]]))).toBe(1); // prettier-ignore
});

describe('the command', () => {
  const jiti = join(root, 'node_modules/jiti/lib/jiti-cli.mjs');
  const golden = (...args: string[]) =>
    spawnSync(process.execPath, [jiti, join(root, 'scripts/golden/run.ts'), ...args], { encoding: 'utf8' });

  it('ends with 0 when all pass, with a line per file', () => {
    const folder = join(dir, 'good');
    mkdirSync(folder);
    cpSync(join(root, 'tests/golden/algorithms/filtering.json'), join(folder, 'renamed.json'));
    const { status, stdout, stderr } = golden(folder);
    expect(stderr).toBe('');
    expect(stdout).toContain('renamed.json                10 cases  f64 10 pass; f32 0 pass, 10 exempt');
    expect(status).toBe(0);
  });

  it('ends with 1 when one fails, and says what was wanted and what came', () => {
    const { status, stdout } = golden(folderOf([{ name: 'two', inputs: { values: [1, 2] }, expected: { scores: [0, 0] }, tolerance }])); // prettier-ignore
    expect(status).toBe(1);
    expect(stdout).toMatch(/FAIL {2}two \(f64\): scores\[0\]: wanted 0; came -0\.67448\d+/);
  });

  it('ends with 2 when there is nothing to run', () => {
    const empty = join(dir, 'empty');
    mkdirSync(empty);
    expect(golden(empty)).toMatchObject({ status: 2, stderr: expect.stringContaining('has no JSON file') });
    expect(golden(join(dir, 'none'))).toMatchObject({ status: 2, stderr: expect.stringContaining('is no folder') });
    expect(golden()).toMatchObject({ status: 2, stderr: expect.stringContaining('one folder is wanted') });
  });
});
