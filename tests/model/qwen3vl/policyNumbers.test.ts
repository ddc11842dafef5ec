import { afterAll, beforeAll, expect, it } from 'vitest';
import { Policy, type PolicyBatch } from '../../../lib/model/qwen3vl/policy.ts';
import { likelihood } from '../../../lib/train/likelihood.ts';
import { packSequences } from '../../../scripts/golden/model/sequences.ts';
import { writeGoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';

// The published numbers of `tiny`: one sequence with an image and a video.
const ids = [
  5,
  6,
  1007,
  ...Array(6).fill(1010),
  1008,
  7,
  8,
  9,
  20,
  1007,
  ...Array(4).fill(1011),
  1008,
  21,
  1007,
  ...Array(4).fill(1011),
  1008,
  30,
  31,
  32,
];
const positions = [
  [0, 1, 2, 3, 3, 3, 3, 3, 3, 6, 7, 8, 9, 10, 11, 12, 12, 12, 12, 14, 15, 16, 17, 17, 17, 17, 19, 20, 21, 22],
  [0, 1, 2, 3, 3, 3, 4, 4, 4, 6, 7, 8, 9, 10, 11, 12, 12, 13, 13, 14, 15, 16, 17, 17, 18, 18, 19, 20, 21, 22],
  [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 12, 13, 14, 15, 16, 17, 18, 17, 18, 19, 20, 21, 22],
] as [number[], number[], number[]];
const targetsAt = [10, 11, 12, 13, 27, 28, 29];

let policy: Policy;
let batch: PolicyBatch;
beforeAll(async () => {
  policy = await Policy.load(await writeGoldenCheckpoint('tiny'));
  const pixels = (input: 'pixel_values' | 'pixel_values_videos', rows: number) => ({
    input,
    name: `input.${input}`,
    shape: [rows, 1536] as [number, number],
    a: 1,
    off: 0,
    dtype: 'float32',
  });
  const sequence = {
    input_ids: ids,
    image_grid_thw: [[1, 4, 6]] as [number, number, number][],
    video_grid_thw: [[2, 4, 4]] as [number, number, number][],
    pixels: [pixels('pixel_values', 24), pixels('pixel_values_videos', 32)],
    position_ids: positions,
    rope_delta: -7,
    logit_rows: [],
    targets: { rows: targetsAt.map((i) => i - 1), ids: targetsAt.map((i) => ids[i]!) },
  };
  batch = packSequences([sequence], policy.config);
});
afterAll(() => policy.dispose());

const near = (actual: ArrayLike<number>, expected: number[], digits: number) =>
  expected.forEach((e, i) => expect(actual[i]).toBeCloseTo(e, digits));

it('vision tower', async () => {
  const [merged, first, , third] = await policy.features(batch.images.slice(0, 1));
  near(merged!, [-0.31393, 0.06807, 0.48626, -0.0164], 4);
  near(first!, [-0.04033, -0.66586, 0.78452, 0.77838], 4);
  near(third!.slice(-4), [0.51112, -0.12173, 0.50885, 0.17253], 4);
});

it('logits and their log-sum-exp', async () => {
  const rows: [number, number[], number, number][] = [
    [0, [3.52725, 4.66011, 2.44622, -4.64262], 827, 12.52315],
    [4, [2.53596, 3.06228, 8.52899, -1.08616], 658, 12.60241],
    [8, [3.33106, 4.91568, 5.94278, 2.94793], 256, 14.0444],
    [16, [-4.15175, 3.9, -0.74712, 2.06346], 658, 12.15148],
    [29, [1.92343, -0.18044, 5.97713, -0.09827], 474, 11.84773],
  ];
  const logits = await policy.logits(
    batch,
    Int32Array.from(rows, ([r]) => r),
  );
  rows.forEach(([, first4, argmax, lse], i) => {
    const z = Array.from(logits.slice(i * 1024, (i + 1) * 1024));
    near(z, first4, 3);
    expect(z.indexOf(Math.max(...z))).toBe(argmax);
    expect(Math.log(z.reduce((s, v) => s + Math.exp(v), 0))).toBeCloseTo(lse, 3);
  });
});

it('loss and gradient norms', async () => {
  policy.zeroGradients();
  const { loss } = await policy.forwardBackward(batch, likelihood(batch.targetIds.length));
  expect(Array.from(loss).reduce((s, v) => s + v, 0)).toBeCloseTo(11.91873, 3);
  const norms: Record<string, number> = {
    'model.visual.patch_embed.proj.weight': 39.8286,
    'model.visual.pos_embed.weight': 1.75661,
    'model.visual.blocks.0.attn.qkv.weight': 7.95876,
    'model.visual.blocks.5.mlp.linear_fc2.weight': 4.45821,
    'model.visual.merger.linear_fc1.weight': 22.3872,
    'model.visual.merger.norm.weight': 1.07353,
    'model.visual.deepstack_merger_list.0.linear_fc2.weight': 7.95877,
    'model.visual.deepstack_merger_list.2.norm.weight': 0.108729,
    'model.language_model.embed_tokens.weight': 7.73545,
    'model.language_model.layers.0.self_attn.q_proj.weight': 7.94419,
    'model.language_model.layers.0.self_attn.k_norm.weight': 0.682202,
    'model.language_model.layers.3.self_attn.o_proj.weight': 9.60389,
    'model.language_model.layers.2.mlp.down_proj.weight': 10.3359,
    'model.language_model.norm.weight': 1.46675,
  };
  let total = 0;
  for (const { name, gradient } of policy.trained) {
    const l2 = Math.sqrt(Array.from(await gradient!.read()).reduce((s, v) => s + v * v, 0));
    total += l2 * l2;
    if (name in norms) expect(Math.abs(l2 / norms[name]! - 1), name).toBeLessThan(1e-3);
  }
  expect(Math.abs(Math.sqrt(total) / 87.2573 - 1)).toBeLessThan(1e-3);
});
