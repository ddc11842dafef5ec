import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Policy } from '../../../lib/model/qwen3vl/policy.ts';
import { goldenJson, goldenPath } from '../../support/goldenModel.ts';
import { packSequences, type GoldenSequence } from '../../support/goldenSequences.ts';
import { writeGoldenCheckpoint, type GoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';

// Bounds of the golden data's README, for fp32.
const NEAR = 1e-4;
const close = (what: string, actual: number, expected: number, bound: number) => {
  if (!(Math.abs(actual - expected) <= bound))
    expect.fail(`${what} is ${actual}, expected ${expected}: more than ${bound} off`);
};

interface Objective {
  temperature: number;
  lambda: number;
  lo: number;
  hi: number;
  N: number;
  loss: number;
  mean_entropy: number;
  grad_global_l2: number;
  grads: Record<string, { l2: number; idx: number[]; val: number[] }>;
}
interface ModelCase {
  case: string;
  sequences?: GoldenSequence[];
  advantages?: number[];
  objectives?: Record<string, Objective>;
}

const sum = (x: Iterable<number>) => Array.from(x).reduce((s, v) => s + v, 0);
const norm = (x: ArrayLike<number>) => Math.sqrt(Array.from(x).reduce((s, v) => s + v * v, 0));

for (const name of ['tiny', 'tiny-untied', 'nano'] as GoldenCheckpoint[])
  describe(`${name} against the reference implementation`, () => {
    let policy: Policy;
    beforeAll(async () => {
      policy = await Policy.load(await writeGoldenCheckpoint(name));
    });
    afterAll(() => policy.dispose());

    const cases = readdirSync(goldenPath(`cases/${name}`)).map((file) =>
      goldenJson<ModelCase>(`cases/${name}/${file}`),
    );
    for (const c of cases.filter((x) => x.sequences)) {
      it(`${c.case}: logits, log-probabilities, entropies`, async () => {
        for (const s of c.sequences!) await checkSequence(policy, s);
      });
      if (c.sequences!.length > 1)
        it(`${c.case}: packed is separate`, async () => {
          const packed = packSequences(c.sequences!, policy.config.ids);
          const { logProbs } = await policy.forward(packed);
          const wanted = c.sequences!.flatMap((s) => s.targets?.['logp_t1.0'] ?? []);
          wanted.forEach((w, i) => close(`log-probability ${i}`, logProbs[i]!, w as number, NEAR));
        });
      for (const [kind, o] of Object.entries(c.objectives ?? {}))
        it(`${c.case}: ${kind}: loss and every gradient`, () => checkObjective(policy, c, kind, o));
    }
  });

async function checkSequence(policy: Policy, s: GoldenSequence) {
  const batch = packSequences([s], policy.config.ids);
  if (s.vision)
    for (const kind of ['image', 'video'] as const) {
      const expected = s.vision[kind];
      if (!expected) continue;
      const count = s.image_grid_thw.length;
      const features = await policy.features(
        kind === 'video' ? batch.images.slice(count) : batch.images.slice(0, count),
      );
      [expected.merged, ...expected.deepstack].forEach((want, level) => {
        const [rows, size] = want.shape as [number, number];
        const got = features[level]!;
        expect(got.length).toBe(rows * size);
        want.first4_of_first_row.forEach((v, i) => close(`${kind} level ${level} [0, ${i}]`, got[i]!, v, NEAR));
        want.last4_of_last_row.forEach((v, i) =>
          close(`${kind} level ${level} end`, got[rows * size - 4 + i]!, v, NEAR),
        );
        want.row_l2.forEach((v, r) =>
          close(`${kind} level ${level} row ${r}`, norm(got.slice(r * size, (r + 1) * size)), v, 1e-4 * v),
        );
      });
    }
  const logits = await policy.logits(
    batch,
    Int32Array.from(s.logit_rows, (r) => r.row),
  );
  const vocab = policy.config.text.vocab;
  s.logit_rows.forEach((want, i) => {
    const z = Array.from(logits.slice(i * vocab, (i + 1) * vocab));
    want.first8.forEach((v, j) => close(`logit [${want.row}, ${j}]`, z[j]!, v, NEAR));
    const top = Math.max(...z);
    if (want.top2_gap > 1e-3) expect(z.indexOf(top)).toBe(want.argmax);
    const lse = top + Math.log(z.reduce((sum, v) => sum + Math.exp(v - top), 0));
    close(`log-sum-exp of row ${want.row}`, lse, want.lse, NEAR);
    close(`norm of row ${want.row}`, norm(z), want.l2, 1e-4 * want.l2);
  });
  if (!s.targets) return;
  for (const t of ['1.0', '0.7'] as const) {
    const scores = await policy.forward(batch, { temperature: Number(t) });
    (s.targets[`logp_t${t}`] as number[]).forEach((v, i) =>
      close(`log-probability ${i} at ${t}`, scores.logProbs[i]!, v, NEAR),
    );
    (s.targets[`entropy_t${t}`] as number[]).forEach((v, i) =>
      close(`entropy ${i} at ${t}`, scores.entropy[i]!, v, NEAR),
    );
  }
}

async function checkObjective(policy: Policy, c: ModelCase, kind: string, o: Objective) {
  const batch = packSequences(c.sequences!, policy.config.ids);
  const temperature = { temperature: o.temperature };
  const { entropy } = await policy.forward(batch, temperature);
  const n = batch.targetIds.length;
  expect(n).toBe(o.N);
  const mean = sum(entropy) / n;
  const slope = (h: number) => (h < o.lo ? -1 : h > o.hi ? 1 : 0);
  const slopes = Float32Array.from(entropy, (h) => (o.lambda / n) * slope(kind === 'mean_band' ? mean : h));
  policy.zeroGradients();
  const advantages = Float32Array.from(c.sequences!.flatMap((s, i) => s.targets!.ids.map(() => c.advantages![i]!)));
  const { loss } = await policy.forwardBackward(
    batch,
    {
      kind: 'reinforce',
      oldLogProbs: new Float32Array(n),
      advantages,
      weights: new Float32Array(n).fill(1 / n),
      entropySlopes: slopes,
      clipLow: 0.2,
      clipHigh: 0.2,
      clipDual: 0,
    },
    temperature,
  );
  const band = (h: number) => Math.max(0, o.lo - h) + Math.max(0, h - o.hi);
  const penalty = kind === 'mean_band' ? band(mean) : sum(Array.from(entropy, band)) / n;
  close('loss', sum(loss) + o.lambda * penalty, o.loss, 1e-4 * Math.max(1, Math.abs(o.loss)));
  close('mean entropy', mean, o.mean_entropy, NEAR);
  const slack = 1e-6 * o.grad_global_l2;
  let total = 0;
  expect(policy.parameters.map((p) => p.name).toSorted()).toEqual(Object.keys(o.grads).toSorted());
  for (const p of policy.trained) {
    const got = await p.gradient.read();
    const want = o.grads[p.name]!;
    const l2 = norm(got);
    total += l2 * l2;
    close(`norm of d ${p.name}`, l2, want.l2, 1e-3 * want.l2 + slack);
    want.idx.forEach((at, i) =>
      close(`d ${p.name}[${at}]`, got[at]!, want.val[i]!, 1e-3 * Math.abs(want.val[i]!) + slack),
    );
  }
  close('global norm', Math.sqrt(total), o.grad_global_l2, 1e-3 * o.grad_global_l2);
}
