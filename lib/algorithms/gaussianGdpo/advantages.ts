import { gaussian } from '../g2rpo/advantages.ts';
import { segments, type Segments } from '../segments.ts';

/**
 * Every component of the reward is placed on the quantiles of N(0, 1) within its group; the sum of these is placed within its task.
 *
 *   A = G_task(Σ_k w_k·G_group(r_k))
 *
 * @throws NON_FINITE  a component is NaN
 * @source the released code of arXiv:2604.08539 (its `gs_gdpo`), with the second pass's ties of `g2rpo`
 */
export async function advantages(
  groups: Segments,
  taskIds: Int32Array,
  components: readonly Float64Array[],
  weights: readonly number[],
  tieTolerance: number,
): Promise<Float64Array> {
  const sum = new Float64Array(taskIds.length);
  for (const [k, values] of components.entries())
    (await gaussian(values, groups)).forEach((place, b) => (sum[b]! += weights[k]! * place));
  return gaussian(sum, segments(taskIds, groups.runs), { tieTolerance, into: sum });
}
