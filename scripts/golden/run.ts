// Runs a folder of golden cases through the public functions: `npm run golden -- <folder>`. Ends with 1 if a case fails or a file is
// none, with 2 if there is nothing to run.
import { FolderError, lineOf, runFolder, type FileReport } from './folder.ts';

const [folder, ...surplus] = process.argv.slice(2);
if (folder === undefined || surplus.length > 0) {
  console.error('golden: one folder is wanted: npm run golden -- <folder>');
  process.exit(2);
}
try {
  const told = (report: FileReport) => {
    console.log(lineOf(report, 26));
    for (const failure of report.failures) console.log(`  FAIL  ${failure}`);
  };
  const reports = await runFolder(folder, told, (inner, why) => console.log(`${inner}/ is left out: ${why}`));
  const count = (of: (report: (typeof reports)[number]) => number) => reports.reduce((sum, each) => sum + of(each), 0);
  const [f64, f32] = (['f64', 'f32'] as const).map((real) => {
    const [failed, exempt] = [count((r) => r.counts[real].failed), count((r) => r.counts[real].exempt)];
    return `${real}: ${count((r) => r.counts[real].passed)} pass, ${failed} fail${exempt ? `, ${exempt} exempt (they require float64 or have no tolerance for f32)` : ''}`;
  });
  console.log(`${reports.length} files, ${count((r) => r.cases)} cases; ${f64}; ${f32}`);
  process.exitCode = reports.some((report) => report.failures.length > 0) ? 1 : 0;
} catch (error) {
  if (!(error instanceof FolderError)) throw error;
  console.error(`golden: ${error.message}`);
  process.exitCode = 2;
}
