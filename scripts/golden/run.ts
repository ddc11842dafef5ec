// Runs a folder of golden cases through the public functions: `npm run golden -- <folder>`, with a part of a path only the files that
// have it. Ends with 1 if a case fails or a file is none, with 2 if there is nothing to run.
import { FolderError, lineOf, runFolder, type FileReport } from './folder.ts';
import { multiples } from './compare.ts';
import { countsOf, isModelFolder, modelLine, walkModel, type ModelReport } from './model/walk.ts';

const [folder, only = '', ...surplus] = process.argv.slice(2);
if (folder === undefined || surplus.length > 0) {
  console.error('golden: one folder is wanted, and a part of a path at most: npm run golden -- <folder> [path]');
  process.exit(2);
}
try {
  const passed = isModelFolder(folder) ? await runModel(folder) : await runAlgorithms(folder);
  process.exitCode = passed ? 0 : 1;
} catch (error) {
  if (!(error instanceof FolderError)) throw error;
  console.error(`golden: ${error.message}`);
  process.exitCode = 2;
}

/** Whether all cases of a folder of algorithms pass. */
async function runAlgorithms(folder: string): Promise<boolean> {
  const told = (report: FileReport) => {
    console.log(lineOf(report, 26));
    for (const failure of report.failures) console.log(`  FAIL  ${failure}`);
  };
  const reports = await runFolder(folder, told, (inner, why) => console.log(`${inner}/ is left out: ${why}`), only);
  const count = (of: (report: (typeof reports)[number]) => number) => reports.reduce((sum, each) => sum + of(each), 0);
  const [f64, f32] = (['f64', 'f32'] as const).map((real) => {
    const [failed, exempt] = [count((r) => r.counts[real].failed), count((r) => r.counts[real].exempt)];
    return `${real}: ${count((r) => r.counts[real].passed)} pass, ${failed} fail${exempt ? `, ${exempt} exempt (they require float64 or have no tolerance for f32)` : ''}`;
  });
  console.log(`${reports.length} files, ${count((r) => r.cases)} cases; ${f64}; ${f32}`);
  return reports.every((report) => report.failures.length === 0);
}

/** Whether all cases of a folder of a model pass, but for those that wait for a capability. */
async function runModel(folder: string): Promise<boolean> {
  const shown = 3; // failures of one check
  const told = (report: ModelReport) => {
    console.log(modelLine(report, 38));
    for (const { name, failures } of report.checks) {
      const more = failures.length > shown ? [`and ${failures.length - shown} more`] : [];
      for (const failure of [...failures.slice(0, shown), ...more]) console.log(`  FAIL  ${name}: ${failure}`);
    }
    for (const reason of new Set(report.checks.flatMap(({ missing }) => missing ?? []))) {
      const names = report.checks.filter(({ missing }) => missing === reason).map(({ name }) => name);
      console.log(`  NOT RUN  ${reason} (${names.join('; ')})`);
    }
  };
  const reports = await walkModel(folder, told, only);
  const total = countsOf(
    reports.flatMap(({ file, checks }) => checks.map((check) => ({ ...check, name: `${file}, ${check.name}` }))),
  );
  for (const [quantity, { multiple, where }] of total.worst)
    console.log(`worst of ${quantity}: ${multiples(multiple)} at ${where}`);
  const missing = total.missing ? `, ${total.missing} not run: the package cannot do that yet` : '';
  console.log(
    `${reports.length} files, ${total.compared} values in f32: ${total.passed} checks pass, ${total.failed} fail${missing}`,
  );
  return total.failed === 0;
}
