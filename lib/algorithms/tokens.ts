import { tooFarApart } from './groups.ts';

/** [N] a number per rollout, given to each of its tokens. */
export function overTokens(values: Float64Array, tokenStarts: Int32Array): Float64Array<ArrayBuffer> {
  const tokens = new Float64Array(tokenStarts.at(-1) ?? 0);
  values.forEach((value, b) => tokens.fill(value, tokenStarts[b]!, tokenStarts[b + 1]!));
  return tokens;
}

/** Values less their mean, divided by what `scale` makes of their variance. Equal values, as none or one alone, give exactly 0. */
export function whiten(
  values: Float64Array,
  { std, scale }: { std: 'sample' | 'population'; scale: (variance: number) => number },
): Float64Array {
  const n = values.length;
  const any = values[0] ?? 0;
  let mean = any; // distances from one of them are 0 where all are equal
  for (const v of values) mean += (v - any) / n;
  let squares = 0;
  for (const v of values) squares += (v - mean) ** 2;
  const by = scale(n === 0 ? 0 : squares / (std === 'sample' && n > 1 ? n - 1 : n));
  if (by === Infinity) throw tooFarApart();
  return values.map((v) => (v - mean) / by);
}
