// node scripts/gpu-results.mjs FOLDER [FILE.json]: what the stages of scripts/gpu-run.sh printed (FOLDER/<stage>.log, and FOLDER/stages with a line
// "name seconds status" for each) as JSON, and a table of it for people.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';

const [folder, file] = process.argv.slice(2);
if (!folder) {
  console.error('gpu-results: usage: node scripts/gpu-results.mjs FOLDER [FILE.json]');
  process.exit(2);
}
const read = (name) =>
  existsSync(join(folder, name)) ? stripVTControlCharacters(readFileSync(join(folder, name), 'utf8')) : '';
const linesOf = (name) =>
  read(`${name}.log`)
    .split('\n')
    .map((line) => line.trimEnd())
    .filter(Boolean);

/** `time` lines of the kernels' own program. */
const kernelTimes = (lines) =>
  lines.flatMap((line) => {
    const found = /^time {2}(.+?) +([\d.]+) us +([\d.]+) TB\/s +([\d.]+) % of a copy(?: +([\d.]+) TFLOP\/s)?$/.exec(
      line,
    );
    if (!found) return [];
    const [, name, us, rate, share, flops] = found;
    return {
      name,
      microseconds: +us,
      terabytesPerSecond: +rate,
      percentOfCopy: +share,
      ...(flops && { teraflopsPerSecond: +flops }),
    };
  });

/** Counts of checks: vitest's closing line, that of the golden cases, or the words of the kernels' own program. */
function checksOf(name, lines) {
  if (name === 'kernels') {
    const count = (word) => lines.filter((line) => line.startsWith(`${word} `)).length;
    return { passed: count('ok'), failed: count('FAIL'), skipped: 0 };
  }
  const closing = lines.findLast((line) => /^\s*Tests /.test(line) || /\d+ (checks )?pass(ed)?\b/.test(line));
  if (!closing) return undefined;
  const of = (words) => Number(new RegExp(`(\\d+) (?:checks )?(?:${words})`).exec(closing)?.[1] ?? 0);
  return { passed: of('passed|pass'), failed: of('failed|fails?'), skipped: of('skipped|not run') };
}

/** Stages that are lists of checks. */
const CHECKS = ['kernels', 'policy', 'golden'];

const stages = read('stages')
  .split('\n')
  .filter(Boolean)
  .map((line) => {
    const [name, seconds, status] = line.split(' ');
    const lines = linesOf(name);
    const checks = CHECKS.includes(name) ? checksOf(name, lines) : undefined;
    const times = name === 'kernels' ? kernelTimes(lines) : [];
    // of tests only what went wrong; all else is the result
    const kept = CHECKS.includes(name) ? lines.filter((line) => /FAIL|failed|Error/.test(line)) : lines;
    return {
      name,
      seconds: +seconds,
      passed: status === '0',
      ...(checks && { checks }),
      ...(times.length && { times }),
      lines: kept,
    };
  });

const result = { date: new Date().toISOString(), machine: linesOf('machine'), stages };
if (file) writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);

const rows = stages.map(({ name, seconds, passed, checks }) => [
  name,
  `${seconds} s`,
  passed ? 'passed' : 'failed',
  checks ? `${checks.passed} passed, ${checks.failed} failed, ${checks.skipped} left out` : '',
]);
const widths = [0, 1, 2].map((i) => Math.max(...rows.map((row) => row[i].length), 0));
for (const row of rows)
  console.log(
    row
      .map((cell, i) => (i < 3 ? cell.padEnd(widths[i]) : cell))
      .join('  ')
      .trimEnd(),
  );
if (file) console.log(`gpu-results: ${file}`);
