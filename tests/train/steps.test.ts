import { describe, expect, it } from 'vitest';
import { createAlgorithm, type Algorithm } from '../../lib/algorithms/index.ts';
import { createPromptStream } from '../../lib/data/promptStream.ts';
import { createRewardRunner } from '../../lib/rewards/index.ts';
import { loadTrainConfig } from '../../lib/train/config.ts';
import { createOptimizer } from '../../lib/train/optimizer.ts';
import { RowBudget } from '../../lib/train/rowBudget.ts';
import { rolloutStep } from '../../lib/train/rolloutStep.ts';
import type { Run } from '../../lib/train/run.ts';
import { collectReports, repeatable } from '../support/collectReports.ts';
import { fakePolicy, fakePrompt } from '../support/fakePolicy.ts';

interface Changes {
  rollout?: object;
  train?: object;
  algorithm?: Algorithm;
  spoil?: (call: number) => boolean;
}

/** A run of the fake policy, rewarded for writing the letter a. */
async function startRun({ rollout, train, algorithm, spoil = () => false }: Changes = {}) {
  const config = loadTrainConfig({
    output: 'nowhere',
    seed: 3,
    policy: { path: 'nowhere' },
    data: { train: 'nowhere.jsonl', template: 'plain' },
    rollout: { prompts: 4, n: 4, maxTokens: 8, batchPrompts: 2, filter: { low: -1, high: 2 }, ...rollout },
    train: { steps: 8, updatePrompts: 2, learningRate: 0.05, weightDecay: 0, maxGradNorm: 0, ...train },
  });
  const prompts = Array.from('abcdefg', (letter, i) =>
    fakePrompt(`${letter}${letter}`, i % 2 ? { problemType: 'math', taskType: 'math_reasoning' } : {}),
  );
  const rewards = await createRewardRunner({
    fn: ({ response }) => (response.match(/a/g) ?? []).length / Math.max(1, response.length),
  });
  const fake = fakePolicy({ spoil });
  const reports = collectReports();
  const run: Run = {
    config,
    policy: fake.policy,
    algorithm: algorithm ?? createAlgorithm(config.algorithm),
    optimizer: createOptimizer(fake.policy.trained, config.train),
    budget: RowBudget.of(config.train, undefined, reports.reporter.note),
    stream: createPromptStream(prompts, { seed: config.seed }),
    rewards,
    reporter: reports.reporter,
    counters: { step: 0, batch: 0, groups: 0 },
  };
  return { run, ...fake, ...reports };
}

const metricsOf = (reports: { metrics: Record<string, number> }[], name: string) =>
  reports.map(({ metrics }) => metrics[name]!);

describe('a rollout step', () => {
  it('samples, scores by the trainer, and then updates once per mini-batch', async () => {
    const { run, calls, steps, rollouts } = await startRun();
    await rolloutStep(run);
    const kinds = calls.map((call) => call.split(' ')[0]);
    expect(kinds).toEqual([
      ...['submit', 'submit', 'submit', 'submit'],
      'forward',
      ...['forwardBackward', 'forwardBackward'],
    ]);
    expect(calls[0]).toBe('submit 4');
    expect(run.counters).toEqual({ step: 2, batch: 1, groups: 4 });
    expect(steps.map(({ step }) => step)).toEqual([1, 2]);
    expect(rollouts.map(({ step, rollouts }) => [step, rollouts.length])).toEqual([[1, 16]]);
    // every token is scored once, and learned from once
    const tokens = (prefix: string) =>
      calls.filter((call) => call.startsWith(`${prefix} `)).reduce((n, call) => n + Number(call.split(' ')[1]), 0);
    expect(tokens('forwardBackward')).toBe(tokens('forward'));
    expect(metricsOf(steps, 'actor/tokens').reduce((a, b) => a + b)).toBe(tokens('forward'));
  });

  it('starts from a ratio of 1, and later mini-batches see a policy that has moved', async () => {
    const { run, steps } = await startRun({ train: { learningRate: 0.5 } });
    await rolloutStep(run);
    const [first, second] = steps.map(({ metrics }) => metrics);
    expect(first!['actor/ppo_kl']).toBe(0);
    expect(first!['actor/pg_clipfrac']).toBe(0);
    expect(first!['rollout/log_prob_diff_max']).toBeLessThan(1e-6); // the same arithmetic, stored in f32
    expect(Math.abs(second!['actor/ppo_kl']!)).toBeGreaterThan(0.01);
    expect(second!['actor/pg_clipfrac']).toBeGreaterThan(0.05);
    // what belongs to the whole batch stands in the first row alone
    expect(first).toHaveProperty(['reward/overall']);
    expect(second).not.toHaveProperty(['reward/overall']);
  });

  it('does not ask for old log-probabilities where the batch is one update and nothing wants them', async () => {
    const one = { train: { updatePrompts: 4 } };
    const plain = createAlgorithm();
    const asking: Algorithm = { ...plain, needs: { ...plain.needs, scores: true } };
    const [without, asked] = [
      await startRun({ ...one, algorithm: plain }),
      await startRun({ ...one, algorithm: asking }),
    ];
    for (const { run } of [without, asked]) await rolloutStep(run);
    expect(without.calls.filter((call) => call.startsWith('forward '))).toEqual([]);
    expect(asked.calls.filter((call) => call.startsWith('forward '))).toHaveLength(1);
    const [row, other] = [without, asked].map(({ steps }) => steps[0]!.metrics);
    expect(row!['actor/ppo_kl']).toBe(0);
    expect(row).not.toHaveProperty(['timing_s/old']);
    for (const name of ['actor/pg_loss', 'actor/grad_norm', 'actor/entropy', 'rollout/log_prob_diff_max'])
      expect(row![name], name).toBeCloseTo(other![name]!, 6);
    for (const shaping of [
      { entropyBand: { coef: 0.1 } },
      { loss: 'gspo' },
      { kl: { coef: 0.1 } },
      { rolloutCorrection: { level: 'token' } },
    ] as const)
      expect(createAlgorithm(shaping).needs.scores, JSON.stringify(shaping)).toBe(true);
  });

  it('compares over the whole rollout batch, before it is cut', async () => {
    const seen: number[] = [];
    const algorithm: Algorithm = {
      ...createAlgorithm(),
      async advantages(batch) {
        seen.push(batch.rewards.length);
        return createAlgorithm().advantages(batch);
      },
    };
    const { run } = await startRun({ algorithm });
    await rolloutStep(run);
    expect(seen).toEqual([16]);
  });

  it('asks for entropies of the policy as it is only when the algorithm does', async () => {
    const lengths: [number, number][] = [];
    const algorithm: Algorithm = {
      ...createAlgorithm(),
      async prepare(mini, entropies) {
        lengths.push([(await entropies()).entropy.length, mini.oldLogProbs!.length]);
        return createAlgorithm().prepare(mini, entropies);
      },
    };
    const { run, calls } = await startRun({ algorithm });
    await rolloutStep(run);
    expect(calls.filter((call) => call.startsWith('forward '))).toHaveLength(2); // one for the batch; before the first update the policy is still that one
    for (const [asked, mini] of lengths) expect(asked).toBe(mini);
  });

  /** every list that a loss can have */
  const full: Algorithm = {
    ...createAlgorithm(),
    async prepare(mini, entropies) {
      const { loss, metrics } = await createAlgorithm().prepare(mini, entropies);
      const { oldLogProbs, weights } = loss;
      return {
        loss: {
          ...loss,
          kind: 'sapo',
          tau: { positive: 1.5, negative: 2 },
          kl: { kind: 'k3', refLogProbs: oldLogProbs!.map((l, i) => l + Math.sin(i)), weights },
          logProbSlopes: weights.map((w, i) => w * Math.cos(3 * i)),
        },
        metrics,
      };
    },
  };
  it.each([
    ['ppo', createAlgorithm()],
    ['gspo within an entropy band', createAlgorithm({ loss: 'gspo', entropyBand: { coef: 0.1, min: 5, max: 6 } })],
    ['cispo, seq-mean-token-mean', createAlgorithm({ loss: 'cispo', aggregation: 'seq-mean-token-mean' })],
    [
      'Dr.GRPO with sampled entropies',
      createAlgorithm({
        name: 'dr-grpo',
        aggregation: 'seq-mean-token-sum-norm',
        entropyBand: { coef: 0.1, estimator: 'sampled_nll', min: 5, max: 6 },
      }),
    ],
    ['sapo with a KL term and further slopes', full],
  ])('changes the policy in the same way however micro-batches are cut: %s', async (_, algorithm) => {
    const after = async (microBatchTokens: number) => {
      const { run, weights, steps, calls } = await startRun({ train: { microBatchTokens }, algorithm });
      for (let i = 0; i < 3; i++) await rolloutStep(run);
      return {
        weights: await weights(),
        steps,
        passes: calls.filter((call) => call.startsWith('forwardBackward')).length,
      };
    };
    const whole = await after(100_000);
    for (const budget of [1, 13, 40]) {
      const cut = await after(budget);
      expect(cut.passes).toBeGreaterThan(whole.passes);
      // sums of f64 in another order, rounded to f32, and divided by the square root of their square in the first update
      cut.weights.forEach((w, i) => expect(Math.abs(w - whole.weights[i]!)).toBeLessThan(1e-4));
      metricsOf(cut.steps, 'actor/pg_loss').forEach((loss, i) =>
        expect(loss).toBeCloseTo(metricsOf(whole.steps, 'actor/pg_loss')[i]!, 4),
      );
    }
  });

  it('is the same to the bit when it is done again, and other for another seed', async () => {
    const outcome = async (seed: number) => {
      const { run, weights, steps } = await startRun();
      run.config.seed = seed;
      for (let i = 0; i < 2; i++) await rolloutStep(run);
      return { weights: [...(await weights())], rows: steps.map(({ metrics }) => repeatable(metrics)) };
    };
    const once = await outcome(1);
    expect(await outcome(1)).toEqual(once);
    expect((await outcome(2)).weights).not.toEqual(once.weights);
  });

  it('learns', async () => {
    const { run, steps } = await startRun({ train: { learningRate: 0.2, steps: 24 } });
    for (let i = 0; i < 12; i++) await rolloutStep(run);
    const rewards = metricsOf(steps, 'reward/overall').filter((reward) => reward !== undefined);
    expect(rewards.at(-1)!).toBeGreaterThan(rewards[0]! + 0.3);
  });

  it('stops at the last step, in the middle of a rollout batch', async () => {
    const { run, steps } = await startRun({ train: { steps: 3 } });
    await rolloutStep(run);
    await rolloutStep(run);
    expect(steps.map(({ step }) => step)).toEqual([1, 2, 3]);
  });

  it('leaves out an update whose gradient is not finite, counts it and goes on', async () => {
    const { run, weights, steps } = await startRun({ spoil: (call) => call === 1 });
    const before = await weights();
    const moved: boolean[] = [];
    const { step } = run.reporter;
    run.reporter.step = async (report) => {
      moved.push((await weights()).some((w, i) => w !== before[i]));
      await step(report);
    };
    await rolloutStep(run);
    expect(metricsOf(steps, 'actor/skipped_updates')).toEqual([1, 0]);
    expect(metricsOf(steps, 'actor/grad_norm')[0]).toBeNaN();
    expect(moved).toEqual([false, true]);
    expect((await weights()).every(Number.isFinite)).toBe(true);
    expect(run.optimizer.updates).toBe(1);
  });

  it('tells rewards before filtering, and those that are learned from', async () => {
    const { run, steps } = await startRun({ rollout: { filter: { low: 0.05, high: 0.99 } } });
    await rolloutStep(run);
    const { metrics } = steps[0]!;
    expect(metrics['rollout/groups_all_wrong']).toBeGreaterThan(0);
    expect(metrics['critic/rewards/mean']).toBeGreaterThan(metrics['reward/overall']!);
    expect(metrics['rollout/groups_kept']).toBe(4);
    expect((metrics['rollout/groups_kept/ocr'] ?? 0) + (metrics['rollout/groups_kept/math_reasoning'] ?? 0)).toBe(4);
  });
});
