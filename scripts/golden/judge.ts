import { G2rpoError } from '../../lib/index.ts';
import { rounded, type GoldenCase, type Real } from './case.ts';
import { compare, type Comparison } from './compare.ts';
import { kindOf } from './kind.ts';
import { KINDS } from './kinds/index.ts';

/** What became of a case; one without a comparison is exempt from f32. */
export type Verdict = { real: Real } & (Comparison | { exempt: string });

/** A case in f64 and, unless it is exempt, in f32. */
export async function judge(golden: GoldenCase): Promise<Verdict[]> {
  const { tolerance } = golden;
  const { rtol, atol, f32_rtol, f32_atol, requires } = tolerance;
  const exempt = requires === 'float64' || f32_rtol === undefined || f32_atol === undefined;
  return [
    { real: 'f64', ...(await judgeIn('f64', golden, { rtol, atol })) },
    exempt
      ? { real: 'f32', exempt: requires === 'float64' ? 'requires float64' : 'without tolerances for f32' }
      : { real: 'f32', ...(await judgeIn('f32', golden, { rtol: f32_rtol, atol: f32_atol })) },
  ];
}

async function judgeIn(real: Real, golden: GoldenCase, bounds: { rtol: number; atol: number }): Promise<Comparison> {
  const { inputs, expected } = golden;
  const failed = (failure: string): Comparison => ({ worst: Infinity, where: '', compared: 0, failures: [failure] });
  const kind = kindOf(KINDS, golden);
  if (!kind) return failed(`no kind of case has the inputs ${Object.keys(inputs).join(', ') || 'none'}`);
  const wantsError = Object.hasOwn(expected, 'error');
  const others = Object.keys(expected).filter((key) => key !== 'error');
  if (wantsError ? others.length > 0 : others.length === 0)
    return failed(wantsError ? `expected has an error, and ${others.join(', ')} too` : 'expected is empty');
  try {
    const given = (real === 'f32' ? rounded(inputs) : inputs) as never;
    const came = await kind.compute(given, { real, expected });
    if (!wantsError) return compare(expected, came, bounds, real);
    return failed(
      `error: wanted ${JSON.stringify(expected['error'])}; came a result (${Object.keys(came).join(', ')})`,
    );
  } catch (error) {
    const refused = error instanceof G2rpoError;
    if (wantsError && refused) return { worst: 0, where: 'error', compared: 1, failures: [] };
    const said = error instanceof Error ? `${refused ? error.code : error.name}: ${error.message}` : String(error);
    return failed(`wanted ${wantsError ? 'a G2rpoError' : Object.keys(expected).join(', ')}; came ${said}`);
  }
}
