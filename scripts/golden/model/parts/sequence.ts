import { positionsOf, type Policy } from '../../../../lib/index.ts';
import { boundsFor, type ModelBounds } from '../bounds.ts';
import type { Checks, Comparer } from '../checks.ts';
import {
  packSequences,
  type GoldenFeatures,
  type GoldenLogits,
  type GoldenPrompt,
  type GoldenSequence,
} from '../sequences.ts';
import { integers, norm, onlyKeys } from '../values.ts';

const KEYS = ['name', 'length', 'input_ids', 'image_grid_thw', 'video_grid_thw', 'pixels', 'position_ids', 'rope_delta', 'noise_*', 'vision', 'logit_rows', 'completion_start', 'targets']; // prettier-ignore

/** A sequence by itself: layout, vision tower, logits, and what its targets are worth at every temperature. */
export async function checkSequence(policy: Policy, s: GoldenSequence, checks: Checks): Promise<void> {
  const bounds = boundsFor(policy.config.text.hidden);
  await checks.run(`${s.name}: layout`, (check) => {
    onlyKeys(s.name, s, KEYS);
    check.same('length', s.length, s.input_ids.length);
    checkLayout(policy, s, check);
    if (s.targets === undefined) return;
    const { completion_start: start = 0, targets, length } = s;
    check.same(
      'targets.rows',
      targets.rows,
      Array.from({ length: length - start }, (_, i) => start - 1 + i),
    );
    check.same('targets.ids', targets.ids, s.input_ids.slice(start));
  });
  for (const kind of Object.keys(s.vision ?? {}))
    await checks.run(`${s.name}: vision tower, ${kind}`, (check) => checkVision(policy, s, kind, check, bounds));
  await checks.run(`${s.name}: logits`, async (check) => {
    const rows = integers('logit_rows.row', s.logit_rows.map(({ row }) => row)); // prettier-ignore
    const logits = await policy.logits(packSequences([s], policy.config), rows);
    compareLogits(s.logit_rows, logits, check, bounds);
  });
  if (s.targets)
    await checks.run(`${s.name}: log-probabilities and entropies`, (check) =>
      compareTargets(policy, [s], check, bounds),
    );
}

/** Ids, grids and positions of a sequence or a prompt. */
export function checkLayout(policy: Policy, s: GoldenPrompt, check: Comparer): void {
  const { config } = policy;
  const grids = { images: s.image_grid_thw, videos: s.video_grid_thw };
  const { positionIds, ropeDelta } = positionsOf(integers('input_ids', s.input_ids), grids, config);
  check.same('position_ids', s.position_ids.flat(), positionIds);
  check.same('rope_delta', s.rope_delta, ropeDelta);
  const width = 3 * config.vision.temporalPatch * config.vision.patch ** 2;
  for (const [input, of] of [
    ['pixel_values', s.image_grid_thw],
    ['pixel_values_videos', s.video_grid_thw],
  ] as const) {
    const parts = s.pixels.filter((p) => p.input === input);
    const rows = of.reduce((n, [t, h, w]) => n + t * h * w, 0);
    check.same(`${input}: rows`, parts.reduce((n, { shape }) => n + shape[0], 0), rows); // prettier-ignore
  }
  s.pixels.forEach(({ input, shape, dtype }, i) => {
    check.same(`pixels[${i}].shape[1]`, shape[1], width);
    check.same(`pixels[${i}].dtype`, dtype, 'float32');
    if (!['pixel_values', 'pixel_values_videos'].includes(input)) throw new Error(`pixels[${i}].input is ${input}`);
  });
}

async function checkVision(policy: Policy, s: GoldenSequence, kind: string, check: Comparer, bounds: ModelBounds) {
  if (kind !== 'image' && kind !== 'video') throw new Error(`vision.${kind} is no output of the tower`);
  const { images } = packSequences([s], policy.config);
  const count = s.image_grid_thw.length;
  const features = await policy.features(kind === 'image' ? images.slice(0, count) : images.slice(count));
  const { merged, deepstack } = s.vision![kind]!;
  const levels: [string, GoldenFeatures][] = [
    ['merged', merged],
    ...deepstack.map((level, k): [string, GoldenFeatures] => [`deepstack[${k}]`, level]),
  ];
  check.same('levels', levels.length, features.length);
  for (const [k, [name, level]] of levels.entries()) {
    const [got, size] = [features[k]!, policy.config.text.hidden];
    check.same(`${name}.shape`, level.shape, [got.length / size, size]);
    const rows = Array.from({ length: got.length / size }, (_, r) => got.slice(r * size, (r + 1) * size));
    const { first4_of_first_row, last4_of_last_row, row_l2 } = level;
    const came = { first4_of_first_row: got.slice(0, 4), last4_of_last_row: got.slice(-4) };
    check.near(name, { first4_of_first_row, last4_of_last_row }, came, bounds.value, 'vision');
    check.near(`${name}.row_l2`, row_l2, rows.map(norm), bounds.norm, 'norms');
  }
}

/** Rows of logits, [rows, vocab], against what is said of them. */
export function compareLogits(
  wanted: readonly Partial<GoldenLogits>[],
  logits: ArrayLike<number>,
  check: Comparer,
  bounds: ModelBounds,
): void {
  const vocab = logits.length / wanted.length;
  wanted.forEach((want, i) => {
    const z = Array.from({ length: vocab }, (_, j) => logits[i * vocab + j]!);
    const { argmax, top2_gap, entropy, l2, first8, lse } = want;
    const at = `logit_rows[${i}]`;
    const came = statisticsOf(z);
    check.near(
      at,
      { first8, ...(lse !== undefined && { lse }) },
      { ...came, first8: z.slice(0, 8) },
      bounds.value,
      'logits',
    );
    check.near(at, { entropy }, came, bounds.value, 'entropies');
    if (l2 !== undefined) check.near(at, { l2 }, { l2: norm(z) }, bounds.norm, 'norms');
    check.near(at, { top2_gap }, came, bounds.gap, 'logits');
    if (came.top2_gap > 1e-3) check.same(`${at}.argmax`, argmax, came.argmax);
    else check.near(`${at}.argmax: its logit`, z[came.argmax], z[argmax!], { rtol: 0, atol: 2e-3 }, 'logits');
  });
}

export function statisticsOf(z: readonly number[]) {
  const top = z.reduce((a, b) => Math.max(a, b), -Infinity);
  const argmax = z.indexOf(top);
  const second = z.reduce((best, v, j) => (j === argmax ? best : Math.max(best, v)), -Infinity);
  const total = z.reduce((s, v) => s + Math.exp(v - top), 0);
  const lse = top + Math.log(total);
  const entropy = lse - z.reduce((s, v) => s + Math.exp(v - lse) * v, 0);
  return { argmax, top2_gap: top - second, lse, entropy };
}

/** Log-probabilities and entropies at every temperature that the targets name, of sequences in one packed run. */
export async function compareTargets(
  policy: Policy,
  sequences: readonly GoldenSequence[],
  check: Comparer,
  bounds: ModelBounds,
): Promise<void> {
  const batch = packSequences(sequences, policy.config);
  const temperatures = new Set(
    sequences
      .flatMap(({ targets }) => Object.keys(targets ?? {}))
      .flatMap((key) => /^(?:logp|entropy)_t(.+)$/.exec(key)?.[1] ?? []),
  );
  if (temperatures.size === 0) throw new Error('targets name no temperature');
  for (const { name, targets = {} } of sequences)
    onlyKeys(`${name}.targets`, targets, ['rows', 'ids', 'bf16_reference_*', ...[...temperatures].flatMap((t) => [`logp_t${t}`, `entropy_t${t}`])]); // prettier-ignore
  for (const t of temperatures) {
    const { logProbs, entropy } = await policy.forward(batch, { temperature: Number(t) });
    let at = 0;
    for (const { name, targets } of sequences) {
      const size = targets?.rows.length ?? 0;
      const part = (values: ArrayLike<number>) => Array.from({ length: size }, (_, i) => values[at + i]!);
      check.near(
        `${name}.logp_t${t}`,
        targets?.[`logp_t${t}`] ?? [],
        part(logProbs),
        bounds.value,
        'log-probabilities',
      );
      check.near(`${name}.entropy_t${t}`, targets?.[`entropy_t${t}`] ?? [], part(entropy), bounds.value, 'entropies');
      at += size;
    }
  }
}
