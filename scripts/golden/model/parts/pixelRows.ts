import type { GridThw, ImageProcessor } from '../../../../lib/index.ts';
import type { Comparer } from '../checks.ts';
import { integers, sha256, sum } from '../values.ts';

/** Settings of a processor; `size` counts pixels. */
export interface PixelSettings {
  patch_size: number;
  size: { shortest_edge: number; longest_edge: number };
}

/** As the processors take them, with what all cases have in common. */
export const processorSettings = ({ patch_size: patch, size }: PixelSettings): ImageProcessor['settings'] => ({
  ...{ minPixels: size.shortest_edge, maxPixels: size.longest_edge, patch, temporalPatch: 2, merge: 2 },
  ...{ mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
});

/** What is said of pixel rows. */
export interface GoldenRows {
  grid_thw: GridThw;
  rows: number;
  cols: number;
  sha256_u8: string;
  sha256_f32: string;
  u8_sum: number;
  sample_idx: number[];
  sample_u8: number[];
  sample_f32: number[];
}

interface OurRows {
  rows: Float32Array;
  gridThw: GridThw;
  patch: number;
}
interface Wanted {
  /** whose arithmetic is ours */
  exact: GoldenRows;
  /** whose is not: within two levels */
  other: GoldenRows;
  between: { max_levels: number; fraction_different: number } | undefined;
  /** what the file calls it */
  exactName?: string;
}

/**
 * Pixel rows: bit by bit where the decoded picture is the same, within the three levels of another JPEG decoder where it is not; and
 * within two levels of the other implementation.
 */
export function compareRows(
  { rows, gridThw, patch }: OurRows,
  wanted: Wanted,
  sameDecoder: boolean,
  check: Comparer,
): void {
  const levels = Uint8Array.from(rows, (v) => Math.round((v + 1) * 127.5));
  const total = sum(levels);
  const cols = 6 * patch ** 2;
  const decoder = sameDecoder ? 0 : 3;
  const { exact, other, between, exactName = 'pil' } = wanted;
  for (const [name, want, near] of [
    [exactName, exact, 0],
    ['torchvision', other, 2],
  ] as const) {
    const { grid_thw, rows: count, cols: width } = want;
    check.same(name, { grid_thw, rows: count, cols: width }, { grid_thw: gridThw, rows: rows.length / cols, cols });
    const at = <V>(list: ArrayLike<V>) => want.sample_idx.map((i) => list[i]);
    integers(`${name}.sample_u8`, want.sample_u8);
    check.near(`${name}.sample_u8`, want.sample_u8, at(levels), { rtol: 0, atol: near + decoder }, 'pixels');
    const scaled = want.sample_u8.map((level) => (level - 127.5) / 127.5);
    check.near(`${name}.sample_f32 of its sample_u8`, want.sample_f32, scaled, { rtol: 0, atol: 1e-6 }, 'pixels');
    const atol = (near + decoder) / 127.5 + 1e-6; // a last bit, and nine digits
    check.near(`${name}.sample_f32`, want.sample_f32, at(rows), { rtol: 0, atol }, 'pixels');
  }
  if (!sameDecoder) return;
  check.same(`${exactName}.sha256_u8`, exact.sha256_u8, sha256(levels));
  check.same(`${exactName}.sha256_f32`, exact.sha256_f32, sha256(rows));
  check.same(`${exactName}.u8_sum`, exact.u8_sum, total);
  if (!between) return;
  const { max_levels: most, fraction_different: fraction } = between;
  const different = Math.round(fraction * rows.length);
  check.same(`${exactName}_vs_torchvision.max_levels`, most, Math.min(2, Math.max(0, Math.round(most))));
  check.near(`${exactName}_vs_torchvision.fraction_different`, fraction, different / rows.length, { rtol: 1e-8, atol: 0 }, 'pixels'); // prettier-ignore
  check.near('torchvision.u8_sum', other.u8_sum, total, { rtol: 0, atol: most * different }, 'pixels');
  if (different === 0) check.same('torchvision.sha256_u8', other.sha256_u8, sha256(levels));
}
