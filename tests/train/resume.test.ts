import {
  appendFileSync,
  cpSync,
  existsSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { loadTrainConfig } from '../../lib/train/config.ts';
import { train } from '../../lib/train/train.ts';
import { smallRuns } from '../support/smallRuns.ts';
import { rejectionOf } from '../support/thrown.ts';

const { at, configOf, reported, validationsOf, outcomeOf } = smallRuns();

describe('training', () => {
  beforeAll(() => reported('straight', (reporter) => train(loadTrainConfig(configOf('straight')), reporter)));

  it('has a row per update and per validation, and keeps the last checkpoints', () => {
    const { metrics, checkpoints } = outcomeOf('straight');
    expect(metrics.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 10]);
    expect(checkpoints).toEqual(['step-000008', 'step-000010']);
    expect(metrics.filter((row) => 'actor/grad_norm' in row).every((row) => Number(row['actor/grad_norm']) > 0)).toBe(
      true,
    );
  });

  it('that is asked to stop finishes its rollout batch, is saved and goes on', async () => {
    const stop = new AbortController();
    const config = loadTrainConfig(configOf('stopped'));
    const onStep = (step: number) => step === 5 && stop.abort();
    const first = await reported('stopped', (reporter) => train(config, reporter, stop.signal), onStep);
    expect(first).toMatchObject({ step: 6, stopped: true, policyDir: undefined });
    expect(existsSync(at('stopped', 'policy'))).toBe(false);
    renameSync(at('stopped'), at('moved')); // a run may move to another place
    const moved = loadTrainConfig(configOf('moved'));
    const second = await reported('moved', (reporter) => train(moved, reporter));
    expect(second).toMatchObject({ step: 10, stopped: false, policyDir: at('moved', 'policy') });
    expect(second.before?.step).toBe(0);
    expect(outcomeOf('moved')).toEqual(outcomeOf('straight'));
  });

  it('that has no prompts left keeps what it has learned', async () => {
    // rewards differ while the first two batches are answered, and never again
    const code = 'let n = 0;\nexport default ({ response }) => (n++ < 12 ? (response.length % 7) / 7 : 1);\n';
    writeFileSync(at('fading.mjs'), code);
    const config = {
      ...configOf('out-of-prompts', { saveEverySteps: 100 }),
      rewards: { file: at('fading.mjs'), concurrency: 1 },
    };
    config.rollout = { ...config.rollout, filter: { low: 0.01, high: 0.99 }, maxTries: 2 } as never;
    const began = loadTrainConfig({ ...config, eval: { before: false, everySteps: 0 } });
    const error = await rejectionOf(reported('out-of-prompts', (reporter) => train(began, reporter)));
    expect(error).toMatchObject({ code: 'NO_PROMPTS' });
    const rows = readFileSync(at('out-of-prompts', 'metrics.jsonl'), 'utf8').trim().split('\n');
    const { step: last } = JSON.parse(rows.at(-1)!) as { step: number };
    expect(last).toBeGreaterThan(0);
    expect(readdirSync(at('out-of-prompts', 'checkpoints'))).toEqual([`step-${String(last).padStart(6, '0')}`]);
  });

  it.each([0, 1])(
    'that is asked to stop when %i prompts of a rollout batch are answered samples it again when it goes on',
    async (answered) => {
      const output = `stopped-while-sampling-${answered}`;
      // what may be changed in between changes nothing
      const configs = [{}, { batchPrompts: 1, cacheMb: 0.2 }].map((rollout) => {
        const config = configOf(output);
        return loadTrainConfig({ ...config, rollout: { ...config.rollout, ...rollout } });
      });
      const stop = new AbortController();
      let batches = 0;
      const first = await reported(output, (reporter) => {
        const { sampling } = reporter;
        reporter.sampling = async (progress) => {
          await sampling?.(progress);
          if (progress.done === 0) batches++;
          if (batches === 3 && progress.done === answered) stop.abort();
        };
        return train(configs[0]!, reporter, stop.signal);
      });
      expect(first).toMatchObject({ step: 4, stopped: true });
      const second = await reported(output, (reporter) => train(configs[1]!, reporter));
      expect(second).toMatchObject({ step: 10, stopped: false });
      expect(outcomeOf(output)).toEqual(outcomeOf('straight'));
    },
  );

  it('that is asked to stop in the validation before its first update takes it again', async () => {
    const output = 'stopped-while-validating';
    const config = loadTrainConfig(configOf(output));
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 0); // the policy has been loaded by then or not
    const first = await reported(output, (reporter) => train(config, reporter, stop.signal));
    expect(first).toMatchObject({ step: 0, stopped: true, before: undefined });
    await reported(output, (reporter) => train(config, reporter));
    expect(outcomeOf(output)).toEqual(outcomeOf('straight'));
  });

  it.each([
    ['before', 4, (stop: () => void) => stop()],
    ['in', 4, (stop: () => void) => setTimeout(stop, 2)],
    ['before', 10, (stop: () => void) => stop()],
  ] as const)(
    'that is asked to stop %s the validation of step %i takes it when it goes on',
    async (when, last, soon) => {
      const output = `stopped-${when}-validation-${last}`;
      const config = loadTrainConfig(configOf(output));
      const stop = new AbortController();
      const onStep = (step: number) => step === last && soon(() => stop.abort());
      const first = await reported(output, (reporter) => train(config, reporter, stop.signal), onStep);
      expect(first).toMatchObject({ step: last, stopped: true, policyDir: undefined });
      // what a process had told that went on and was killed before it saved anything
      if (when === 'before') {
        appendFileSync(at(output, 'metrics.jsonl'), `{"step":${last},"val/accuracy_macro":0.5}\n`);
        appendFileSync(at(output, 'samples.jsonl'), `{"step":${last},"response":"red"}\n`);
      }
      const second = await reported(output, (reporter) => train(config, reporter));
      expect(second).toMatchObject({ step: 10, stopped: false, after: { step: 10 } });
      expect(outcomeOf(output)).toEqual(outcomeOf('straight'));
      expect(await validationsOf(output, (reporter) => train(config, reporter))).toBe(0); // it has been taken
    },
  );

  it('moves rows behind the checkpoint aside', async () => {
    const config = loadTrainConfig(configOf('torn', { steps: 4 }));
    await reported('torn', (reporter) => train(config, reporter));
    rmSync(at('torn', 'checkpoints', 'step-000004'), { recursive: true });
    appendFileSync(at('torn', 'metrics.jsonl'), '{"step":4,"half');
    const before = outcomeOf('straight').metrics.slice(0, 6);
    await reported('torn', (reporter) => train(config, reporter));
    expect(outcomeOf('torn').metrics).toEqual(before);
    const aside = readFileSync(at('torn', 'metrics.replaced.jsonl'), 'utf8').trimEnd().split('\n');
    expect(aside.map((line) => (JSON.parse(line) as { step?: number }).step)).toEqual([3, 4, 4, undefined]);
  });

  it('goes on under the same configuration only, but for how long and how often to save', async () => {
    const output = 'longer';
    await reported(output, (reporter) => train(loadTrainConfig(configOf(output, { steps: 2 })), reporter));
    const error = await rejectionOf(
      reported(output, (reporter) => train(loadTrainConfig(configOf(output, { learningRate: 1 })), reporter)),
    );
    expect(error).toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringMatching(/train\.learningRate was 0\.01, is now 1/),
    });
    const longer = loadTrainConfig(configOf(output, { steps: 4, saveEverySteps: 4, keepLast: 1 }));
    expect(await reported(output, (reporter) => train(longer, reporter))).toMatchObject({ step: 4, stopped: false });
    const falling = { decay: 'linear', steps: 2 };
    await reported('falling', (reporter) => train(loadTrainConfig(configOf('falling', falling)), reporter));
    const further = loadTrainConfig(configOf('falling', { ...falling, steps: 4 }));
    const refused = await rejectionOf(reported('falling', (reporter) => train(further, reporter)));
    expect(refused.message).toMatch(/train\.steps was 2, is now 4/);
  });
});

describe('a training of a part', () => {
  const saved = (output: string, name: string) =>
    readFileSync(at(output, 'checkpoints', 'step-000006', 'policy', name));
  const parts: Record<string, [train: object, weights: string, policy?: object]> = {
    'without the vision tower': [{ freeze: 'model.visual.*' }, 'model.safetensors'],
    'with moments of 8 bits and a moving average': [
      { optimizer: 'adamw8bit', ema: { decay: 0.5 }, decay: 'cosine', warmupSteps: 2 },
      'model.safetensors',
    ],
    'by adapters and their moving average': [
      { lora: { rank: 2, targets: ['o_proj'] }, ema: { decay: 0.9, validate: false } },
      'adapter_model.safetensors',
    ],
    'of weights in bf16, rounded at random': [
      { ema: { decay: 0.5 }, learningRate: 1e-4 },
      'model.safetensors',
      { weights: 'bf16' },
    ],
    'of weights in bf16 with moments of 8 bits': [{ optimizer: 'adamw8bit' }, 'model.safetensors', { weights: 'bf16' }],
    'of weights in bf16 with masters of them': [
      { masterWeights: true, ema: { decay: 0.9, validate: false }, learningRate: 1e-4, freeze: 'model.visual.*' },
      'model.safetensors',
      { weights: 'bf16' },
    ],
    'with updates that the backward pass makes': [
      { optimizerInBackward: true, maxGradNorm: 0, microBatchTokens: 4096, freeze: 'model.visual.*' },
      'model.safetensors',
    ],
    'by adapters of weights in bf16': [
      { lora: { rank: 2, targets: ['o_proj'] } },
      'adapter_model.safetensors',
      { weights: 'bf16' },
    ],
    'by adapters': [
      { lora: { rank: 2, alpha: 4, targets: ['q_proj', 'down_proj', 'qkv'] } },
      'adapter_model.safetensors',
    ],
  };
  it.each(Object.entries(parts))(
    'that is stopped goes on to the same bytes: %s',
    async (name, [part, weights, policy]) => {
      const [straight, stopped] = [`${name} straight`, `${name} stopped`];
      const settings = { ...part, steps: 6, saveEverySteps: 6 };
      const configs = [straight, stopped].map((output) => {
        const raw = configOf(output, settings);
        return loadTrainConfig({ ...raw, policy: { ...raw.policy, ...policy } });
      });
      await reported(straight, (reporter) => train(configs[0]!, reporter));
      const stop = new AbortController();
      const onStep = (step: number) => step === 3 && stop.abort();
      await reported(stopped, (reporter) => train(configs[1]!, reporter, stop.signal), onStep);
      await reported(stopped, (reporter) => train(configs[1]!, reporter));
      const last = (outcome: ReturnType<typeof outcomeOf>) => ({ ...outcome, checkpoints: [] });
      expect(last(outcomeOf(stopped, weights))).toEqual(last(outcomeOf(straight, weights)));
      const moments = at(straight, 'checkpoints', 'step-000006', 'optimizer.safetensors');
      const whole = at('straight', 'checkpoints', 'step-000010', 'optimizer.safetensors');
      if (existsSync(whole)) expect(readFileSync(moments).length).toBeLessThan(readFileSync(whole).length);
      expect(saved(straight, weights).length).toBeGreaterThan(0);
    },
  );

  it('leaves an adapter beside the policy that it is merged into, from which another run begins', async () => {
    const adapter = at('by adapters straight', 'adapter');
    expect(readdirSync(adapter).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
    const [part] = parts['by adapters']!;
    const raw = configOf('again', { ...part, steps: 2 });
    const config = loadTrainConfig({ ...raw, policy: { ...raw.policy, adapter } });
    expect(await reported('again', (reporter) => train(config, reporter))).toMatchObject({ step: 2 });
    const whole = configOf('on', { steps: 2 });
    const onTop = loadTrainConfig({ ...whole, policy: { ...whole.policy, adapter } });
    expect(await reported('on', (reporter) => train(onTop, reporter))).toMatchObject({ step: 2 });
    // its change was merged at the start: what is saved is a whole policy, and going on does not merge it again
    const further = loadTrainConfig({ ...whole, policy: onTop.policy, train: { ...whole.train, steps: 4 } });
    expect(await reported('on', (reporter) => train(further, reporter))).toMatchObject({ step: 4, stopped: false });
  });
});

it('adapters go on with the policy that they were trained on, and no other', async () => {
  cpSync(at('policy'), at('base'), { recursive: true });
  const raw = configOf('on-base', { lora: { rank: 1, targets: ['q_proj'] }, steps: 2 });
  const config = loadTrainConfig({ ...raw, policy: { path: at('base') } });
  await reported('on-base', (reporter) => train(config, reporter));
  await writeSmallPolicy(at('other'), { seed: 4, hidden: 32, layers: 2, visionHidden: 32, visionDepth: 2 });
  rmSync(at('base'), { recursive: true });
  renameSync(at('other'), at('base'));
  const further = loadTrainConfig({ ...raw, policy: { path: at('base') }, train: { ...raw.train, steps: 4 } });
  expect(await rejectionOf(reported('on-base', (reporter) => train(further, reporter)))).toMatchObject({
    code: 'INVALID_CHECKPOINT',
    message: expect.stringMatching(/its adapters are for another policy than is now in .*base/),
  });
});
