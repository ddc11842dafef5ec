import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeGallery, writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { openCheckpoint } from '../../lib/model/qwen3vl/checkpoint.ts';
import { parameterCount } from '../../lib/model/qwen3vl/tensorNames.ts';
import { isMatrix } from '../../lib/model/qwen3vl/parameter.ts';
import { Policy } from '../../lib/model/qwen3vl/policy.ts';
import {
  activationBytes,
  deviceHeadBytes,
  forwardFlops,
  packedBytes,
  type Keep,
} from '../../lib/model/qwen3vl/workload.ts';
import { native, packageRoot } from '../../lib/runtime/native.ts';
import { limitMemory, memoryUse } from '../../lib/runtime/memory.ts';
import { planRun } from '../../lib/train/plan.ts';
import { readTrainConfig } from '../../lib/train/readConfig.ts';
import { likelihood } from '../../lib/train/likelihood.ts';
import { train } from '../../lib/train/train.ts';
import { collectReports } from '../support/collectReports.ts';
import { g2rpo } from '../support/g2rpo.ts';
import { manyRows } from '../support/manyRows.ts';
import { wantCpu } from '../support/onCpu.ts';

const policyDir = join(packageRoot, 'assets', 'quickstart', 'policy');

describe('activations of a pass', () => {
  it.for<Keep>(['nothing', 'none', 'selective', 'full'])(
    '%s: the measured peak is within a tenth of the plan',
    async (keep, { skip }) => {
      wantCpu(skip, 'the memory of a process says nothing of that of its device');
      const rows = 16_000;
      const { config } = await openCheckpoint(policyDir);
      const targets = manyRows(rows).targetRows.length;
      const planned = activationBytes(config, { rows, patches: 0, targets }, keep);
      const script = join(packageRoot, 'tests', 'support', 'peakMemory.ts');
      const child = spawnSync(process.execPath, ['--import', 'jiti/register', script, policyDir, keep, `${rows}`], {
        encoding: 'utf8',
        cwd: packageRoot,
      });
      expect(child.stderr).toBe('');
      const measured = Number(child.stdout);
      expect(Math.abs(measured / planned - 1), `${measured} bytes, planned ${planned}`).toBeLessThan(0.1);
    },
  );

  // pictures are most of it: the tower holds the peak where little is kept, the language model's beginning where all is
  it.for<[Keep, number]>([
    ['nothing', 400],
    ['none', 400],
    ['selective', 400],
    ['full', 400],
    ['nothing', 6000],
    ['none', 6000],
    ['full', 6000],
  ])('%s, of 40 pictures and %d rows: within a fiftieth of what is counted', async ([keep, rows], { skip }) => {
    wantCpu(skip, 'what kernels of a device take is counted there');
    const policy = await Policy.load(policyDir);
    const { patch, merge } = policy.config.vision;
    const side = 8 * merge;
    const [height, visualTokens] = [side * patch, 64];
    const batch = manyRows(rows);
    batch.images = Array.from({ length: 40 }, () => ({
      pixels: new Uint8Array(3 * height ** 2).fill(90),
      ...{ height, width: height, gridThw: [1, side, side] as [number, number, number], visualTokens },
    }));
    batch.visualRows = Int32Array.from({ length: 100 }, (_, i) => i);
    batch.visualSource = batch.visualRows;
    const pass = () =>
      keep === 'nothing'
        ? policy.forward(batch)
        : policy.forwardBackward(batch, likelihood(batch.targetIds.length), { recompute: keep });
    policy.zeroGradients();
    await policy.trained.at(-1)!.gradient!.read();
    const before = memoryUse().bytes;
    limitMemory(Infinity); // the peak is counted from here
    await pass();
    const measured = memoryUse().peak - before;
    const size = { rows, patches: 40 * side ** 2, targets: batch.targetIds.length };
    const planned = activationBytes(policy.config, size, keep);
    policy.dispose();
    expect(Math.abs(measured / planned - 1), `${measured} bytes, planned ${planned}`).toBeLessThan(0.02);
  });

  // of 8,184 tokens with 8,192 patches and 4,096 targets; the peaks are those of bench/results/2026-11-26-h200.md
  it.each([
    ['2B', 'none', 62.7e9, 2 + 4 + 8, 0, { hidden: 2048, layers: 28, heads: 16, mlp: 6144 }, { hidden: 1024, mlp: 4096, depth: 24 }], // prettier-ignore
    ['8B', 'selective', 83.8e9, 2 + 2, 4 * 151_936 * 4096, { hidden: 4096, layers: 36, heads: 32, mlp: 12_288 }, { hidden: 1152, mlp: 4304, depth: 27 }], // prettier-ignore
  ] as const)(
    'of %s on a GPU in bf16, %s: what an H200 took',
    async (size, keep, peak, perParameter, lent, text, vision) => {
      const { config } = await openCheckpoint(policyDir);
      const model = {
        ...config,
        tied: size === '2B',
        text: { ...config.text, kvHeads: 8, headDim: 128, vocab: 151_936, ...text },
        vision: { ...config.vision, heads: 16, patch: 16, merge: 2, temporalPatch: 2, taps: [0, 1, 2], ...vision },
      };
      const planned = activationBytes(model, { rows: 8184, patches: 8192, targets: 4096 }, keep, true);
      const held = perParameter * parameterCount(model) + lent; // weights, gradients and moments; lent: the gradient of a part
      expect(Math.abs((planned + held) / peak - 1)).toBeLessThan(0.02);
    },
  );

  // counted in csrc/ops/head/cuda.cu, for the vocabulary of Qwen3-VL in bf16: 2,176 tokens at a time in training, 8,192 for scores
  it.each([
    [true, 4096, 2048, 0.73e9],
    [false, 8184, 8192, 0.31e9],
    [true, 100, 100, 0.034e9],
  ])('of the head of a GPU (training: %s) for %d targets', async (trains, targets, chunk, wanted) => {
    const { config } = await openCheckpoint(policyDir);
    const model = { ...config, text: { ...config.text, hidden: 2048, vocab: 151_936 } };
    const planned = deviceHeadBytes(model, targets, 2, trains);
    expect(Math.abs(planned / wanted - 1)).toBeLessThan(0.08);
    expect(planned).toBeGreaterThan(chunk * 4 * 8192);
  });

  // the specification, §14.3, in f32: inputs of layers, and of one layer what its backward pass needs, and as many gradients
  it.each([
    ['2B', { hidden: 2048, layers: 28, heads: 16, mlp: 6144 }],
    ['4B', { hidden: 2560, layers: 36, heads: 32, mlp: 9728 }],
    ['8B', { hidden: 4096, layers: 36, heads: 32, mlp: 12_288 }],
  ])('of a row of %s with full recomputation: within 15 %% of the specification', async (_, text) => {
    const { config } = await openCheckpoint(policyDir);
    const model = { ...config, text: { ...config.text, kvHeads: 8, headDim: 128, vocab: 151_936, ...text } };
    const [query, key] = [128 * text.heads, 128 * 8];
    const working = 2 * (2 * text.hidden + 2 * query + 2 * key + 2 * text.mlp);
    const wanted = 4 * (text.hidden * text.layers + working);
    const planned = activationBytes(model, { rows: 1, patches: 0, targets: 0 }, 'full');
    expect(Math.abs(planned / wanted - 1)).toBeLessThan(0.15);
  });

  it('operations are twice the weights of products for every row, and the head for every target', async () => {
    const { config } = await openCheckpoint(policyDir);
    const { text, tied } = config;
    const matrices =
      text.layers * text.hidden * (2 * text.heads * text.headDim + 2 * text.kvHeads * text.headDim + 3 * text.mlp);
    expect(tied).toBe(true);
    const size = { rows: 10, patches: 0, targets: 4, keys: 0, patchKeys: 0 };
    expect(forwardFlops(config, size)).toBe(2 * (10 * matrices + 4 * text.hidden * text.vocab));
  });
});

describe('g2rpo plan', () => {
  let dir: string;
  const file = () => join(dir, 'run.yaml');
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'g2rpo-plan-'));
    await writeGallery({ out: join(dir, 'gallery'), train: 48, validation: 6, seed: 4 });
    writeFileSync(
      file(),
      `output: run
policy: { path: ${policyDir} }
data: { train: gallery/train.jsonl, validation: gallery/validation.jsonl, template: plain }
rollout: { maxTokens: 40, prompts: 24, n: 8 }
train: { steps: 4, updatePrompts: 12 }
`,
    );
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  it('says what stays, what every phase takes and how long, and the peak', async () => {
    const { code, stdout } = await g2rpo(['plan', file()]);
    expect(code).toBe(0);
    for (const line of [
      /M parameters; prompts of \d+ tokens \(16 visual/,
      /^gradients +\d+ MB$/m,
      /^updates +\d+ rows +\d+ MB +about/m,
      /^peak memory \d+ MB; a rollout batch with 2 updates about/m,
    ])
      // prettier-ignore
      expect(stdout).toMatch(line);
    expect(stdout).not.toMatch(/NaN|undefined/);
  });

  it.each([
    [100_000, /^the limit of 100.0 GB \(train.memoryLimitMb\) is enough$/m],
    [50, /^updates: the engine wants \d+ MB, more than the limit of 50 MB .*: micro-batches will be halved/m],
    [
      50,
      /^rollouts: the engine wants \d+ MB, .*: the run will end there; fewer prompts at a time \(rollout.batchPrompts, /m,
    ],
    [5, /^what stays takes \d+ MB .*, more than the limit of 5 MB \(train.memoryLimitMb\): no run can begin; /m],
  ])('says what a limit of %d MB means', async (limit, said) => {
    const { stdout } = await g2rpo(['plan', file(), `train.memoryLimitMb=${limit}`]);
    expect(stdout).toMatch(said);
  });

  it('follows the configuration', async () => {
    const plan = (changes: Record<string, unknown> = {}) =>
      planRun(
        readTrainConfig(
          file(),
          Object.entries(changes).map(([path, value]) => ({ path, value })),
        ).config,
      );
    const bytes = async (name: string, changes?: Record<string, unknown>) =>
      (await plan(changes)).phases.find((phase) => phase.name === name)!.bytes;
    const { config } = await openCheckpoint(policyDir);
    expect((await plan()).holdings.find(({ name }) => name === 'weights')!.bytes).toBe(4 * parameterCount(config));
    expect(await bytes('updates', { 'train.recompute': 'full' })).toBeLessThan((await bytes('updates')) / 2);
    expect(await bytes('updates', { 'train.microBatchTokens': 1000 })).toBeLessThan((await bytes('updates')) / 3);
    expect(await bytes('rollouts', { 'rollout.batchPrompts': 6 })).toBeLessThan(await bytes('rollouts'));
    // 192 rollouts of 40 tokens behind 24 prompts: three pages of 16 tokens each, and some for every prompt
    const cache = (await bytes('rollouts')) - (await bytes('rollouts', { 'rollout.cacheMb': 1 }));
    const { layers, kvHeads, headDim } = config.text;
    const pages = 192 * 3 + 24 * Math.ceil((await plan()).prompts.tokens / 16);
    const all = 8 * layers * kvHeads * headDim * 16 * pages;
    expect(cache / ((all - 1e6) * (1 + 1 / (2 * layers)))).toBeCloseTo(1, 9);
    const names = async (changes: Record<string, unknown>) => (await plan(changes)).phases.map(({ name }) => name);
    expect(await names({})).toContain('old log-probabilities');
    expect(await names({ 'train.updatePrompts': 24 })).not.toContain('old log-probabilities');
    const reference = (await plan({ 'algorithm.kl.coef': 0.1 })).holdings.map(({ name }) => name);
    expect(reference).toContain('weights of the reference policy');
    const held = async (changes: Record<string, unknown>) =>
      new Map((await plan(changes)).holdings.map(({ name, bytes: size }) => [name, size]));
    const whole = await held({});
    const frozen = await held({ 'train.freeze': 'model.visual.*', 'train.ema.decay': 0.9 });
    for (const name of ['gradients', 'moments of AdamW']) expect(frozen.get(name)).toBeLessThan(whole.get(name)! / 2);
    expect(frozen.get('moving averages')).toBe(frozen.get('gradients'));
    const narrow = (await held({ 'train.optimizer': 'adamw8bit' })).get('moments of AdamW')!;
    expect(narrow / whole.get('moments of AdamW')!).toBeCloseTo(0.254, 3);
    const inBackward = { 'train.optimizerInBackward': true, 'train.maxGradNorm': 0, 'train.microBatchTokens': 100_000 };
    expect((await held(inBackward)).has('gradients')).toBe(false);
    const uncut = { 'train.microBatchTokens': 100_000 };
    const atOnce = (await bytes('updates', inBackward)) - (await bytes('updates', uncut));
    expect(atOnce).toBeGreaterThan(0);
    expect(atOnce).toBeLessThan(whole.get('gradients')! / 3);
    const away = await plan({ 'train.offloadOptimizer': true, 'train.memoryLimitMb': 1 });
    const without = await plan({ 'train.memoryLimitMb': 1 });
    const wanted = ({ limit }: typeof away) => limit!.short.find(({ phase }) => phase === 'rollouts')!.bytes;
    expect(wanted(without) - wanted(away)).toBe(whole.get('moments of AdamW'));
    expect(away.holdings.filter(({ onHost }) => onHost).map(({ name }) => name)).toEqual(['moments of AdamW']);
    expect((await plan(inBackward)).tooManyRows).toBeUndefined();
    expect((await plan({ ...inBackward, 'train.microBatchTokens': 1000 })).tooManyRows).toBeGreaterThan(1000);
    const lora = await held({ 'train.lora.rank': 4 });
    expect(lora.get('gradients')).toBeLessThan(whole.get('gradients')! / 20);
    expect(lora.get('adapters, and weights merged with them')).toBeLessThan(whole.get('weights')!);
  });

  it.for(['none', 'full'] as const)(
    'is within a tenth of what the engine takes in a run with pictures, train.recompute %s',
    async (recompute, { skip }) => {
      wantCpu(skip, 'what is held to the plan is the memory of the CPU');
      const untrained = join(dir, 'untrained'); // seldom ends a response before it must
      await writeSmallPolicy(untrained);
      const changes = {
        'policy.path': untrained,
        output: join(dir, `measured-${recompute}`),
        'rollout.prompts': 12,
        'rollout.maxTokens': 12,
        'rollout.filter': { low: -1, high: 2 },
        'train.steps': 1,
        'train.updatePrompts': 12,
        'train.recompute': recompute,
        'eval.before': false,
      };
      const { config } = readTrainConfig(
        file(),
        Object.entries(changes).map(([path, value]) => ({ path, value })),
      );
      const { holdings, peakBytes } = await planRun(config);
      const planned = peakBytes - holdings[0]!.bytes; // the process is not the engine's
      limitMemory(Infinity); // the peak is counted from here
      await train(config, collectReports().reporter);
      const measured = memoryUse().peak;
      expect(Math.abs(measured / planned - 1), `${measured} bytes, planned ${planned}`).toBeLessThan(0.1);
    },
  );

  const planned = async (changes: Record<string, unknown>) => {
    const list = Object.entries({ 'policy.weights': 'bf16', ...changes }).map(([path, value]) => ({ path, value }));
    return planRun(readTrainConfig(file(), list).config);
  };

  it('counts weights in bf16 as they are kept, and masters of them', async () => {
    const bytes = ({ holdings }: Awaited<ReturnType<typeof planRun>>, name: string) =>
      holdings.find((holding) => holding.name === name)?.bytes;
    const policy = await Policy.load(policyDir, { dtype: 'bf16' });
    const matrices = policy.parameters.filter(isMatrix).reduce((sum, { weight }) => sum + weight.size, 0);
    const held = policy.parameters.reduce(
      (sum, { weight }) => sum + weight.size * (weight.dtype === 'bf16' ? 2 : 4),
      0,
    );
    policy.dispose();
    const narrow = await planned({ 'train.masterWeights': true, 'algorithm.kl.coef': 0.1 });
    expect(bytes(narrow, 'weights')).toBe(held);
    expect(bytes(narrow, 'weights of the reference policy')).toBe(held);
    expect(bytes(narrow, 'masters of weights in bf16')).toBe(4 * matrices);
    expect(bytes(narrow, 'gradients')).toBe(bytes(await planned({ 'policy.weights': 'f32' }), 'gradients'));
    expect(bytes(await planned({ 'train.lora.rank': 4 }), 'masters of weights in bf16')).toBeUndefined();
  });

  it('counts weights in bf16 packed for decoding where pairs of them are multiplied', async ({ skip }) => {
    wantCpu(skip, 'a GPU reads weights as they are');
    const rollouts = async (changes: Record<string, unknown>) =>
      (await planned(changes)).phases.find(({ name }) => name === 'rollouts')!.bytes;
    const { config } = await openCheckpoint(policyDir);
    const packed = native().hostIsa().startsWith('avx512bf16') ? packedBytes(config, true) : 0;
    expect((await rollouts({ 'policy.weights': 'f32' })) - (await rollouts({}))).toBe(packedBytes(config) - packed);
  });

  it('a data set that is not there is named', async () => {
    const { code, stderr } = await g2rpo(['plan', file(), `data.train=${join(dir, 'none.jsonl')}`]);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/none\.jsonl/);
  });
});
