import { createHash } from 'node:crypto';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeGallery, writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { createReporter } from '../../lib/report/reporter.ts';
import { createTerminal } from '../../lib/report/terminal.ts';
import { loadSftConfig, loadTrainConfig } from '../../lib/train/config.ts';
import { sft } from '../../lib/train/sft.ts';
import { train } from '../../lib/train/train.ts';
import type { Reporter } from '../../lib/types.ts';
import { repeatable } from '../support/collectReports.ts';
import { onCpu } from '../support/onCpu.ts';
import { rejectionOf } from '../support/thrown.ts';

let dir: string;
const at = (...path: string[]) => join(dir, ...path);

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'g2rpo-resume-'));
  await writeGallery({
    out: at('gallery'),
    train: 24,
    validation: 6,
    demonstrations: { demonstrations: { scenes: 6 } },
    seed: 1,
  });
  await writeSmallPolicy(at('policy'), { seed: 3, hidden: 32, layers: 2, visionHidden: 32, visionDepth: 2 });
  // every response gets something, so that a policy that knows nothing learns at once
  writeFileSync(at('reward.mjs'), 'export default ({ response }) => (response.length % 7) / 7;\n');
  const words = ['red', 'blue', 'red', 'green', 'blue', 'red'];
  writeFileSync(
    at('words.jsonl'),
    words
      .map((word) => JSON.stringify({ problem: `say ${word}`, problem_type: 'OCR', demonstration: word }))
      .join('\n'),
  );
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const configOf = (output: string, changes: object = {}) => ({
  output: at(output),
  policy: { path: at('policy') },
  data: { train: at('gallery', 'train.jsonl'), validation: at('gallery', 'validation.jsonl'), template: 'plain' },
  rollout: { prompts: 2, n: 3, maxTokens: 6, filter: { low: -1, high: 2 } },
  rewards: { file: at('reward.mjs'), concurrency: 1 },
  train: {
    steps: 10,
    updatePrompts: 1,
    learningRate: 1e-2,
    saveEverySteps: 2,
    keepLast: 2,
    microBatchTokens: 64,
    ...changes,
  },
  eval: { everySteps: 4 },
});
const sftConfigOf = (output: string, phases: object[], more: object = {}) => ({
  output: at(output),
  policy: { path: at('policy') },
  data: { validation: at('gallery', 'validation.jsonl'), template: 'plain' },
  rollout: { maxTokens: 4 },
  train: { saveEverySteps: 2 },
  phases,
  ...more,
});

/** Runs something with a reporter that writes files, and calls `onStep` after each. */
async function reported<T>(
  output: string,
  start: (reporter: Reporter) => Promise<T>,
  onStep: (step: number) => void = () => undefined,
) {
  const terminal = createTerminal({ write: () => true });
  const reporter = createReporter({ dir: at(output), terminal });
  const { step } = reporter;
  reporter.step = async (report) => {
    await step(report);
    onStep(report.step);
  };
  try {
    return await start(reporter);
  } finally {
    await reporter.close();
  }
}

/** How many validations a run that goes on takes. */
async function validationsOf(output: string, start: (reporter: Reporter) => Promise<unknown>): Promise<number> {
  let count = 0;
  await reported(output, (reporter) => {
    const { validation } = reporter;
    reporter.validation = async (report) => {
      count++;
      await validation(report);
    };
    return start(reporter);
  });
  return count;
}

/** Everything of a finished run that may not depend on how often it was interrupted. */
function outcomeOf(output: string, weights = 'model.safetensors') {
  const sha = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
  const checkpoints = readdirSync(at(output, 'checkpoints')).sort();
  const rows = (name: string) =>
    readFileSync(at(output, `${name}.jsonl`), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => repeatable(JSON.parse(line) as Record<string, unknown>));
  return {
    checkpoints,
    policy: sha(at(output, 'policy', 'model.safetensors')),
    weights: sha(at(output, 'checkpoints', checkpoints.at(-1)!, 'policy', weights)),
    moments: sha(at(output, 'checkpoints', checkpoints.at(-1)!, 'optimizer.safetensors')),
    metrics: rows('metrics'),
    samples: rows('samples'),
  };
}

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

describe('updates that the backward pass makes', () => {
  const inBackward = { optimizerInBackward: true, maxGradNorm: 0, microBatchTokens: 4096 };
  const settings = { ...inBackward, steps: 4, saveEverySteps: 2, ema: { decay: 0.5 } };
  const last = (output: string) => ({ ...outcomeOf(output), checkpoints: [] });

  it('leave the bytes of a training that makes them afterwards, to which a run may change', async () => {
    const afterwards = { ...settings, optimizerInBackward: false };
    await reported('afterwards', (reporter) => train(loadTrainConfig(configOf('afterwards', afterwards)), reporter));
    await reported('within', (reporter) => train(loadTrainConfig(configOf('within', settings)), reporter));
    const { metrics } = last('within');
    expect(metrics.some((row) => Number(row['actor/grad_norm']) > 0)).toBe(true);
    if (onCpu) expect(last('within')).toEqual(last('afterwards'));
    else expect(last('within').weights).toBe(last('afterwards').weights); // norms are added in another order there
    const stop = new AbortController();
    const onStep = (step: number) => step === 2 && stop.abort();
    const first = loadTrainConfig(configOf('changing', settings));
    await reported('changing', (reporter) => train(first, reporter, stop.signal), onStep);
    await reported('changing', (reporter) => train(loadTrainConfig(configOf('changing', afterwards)), reporter));
    expect(last('changing').weights).toBe(last('within').weights);
    expect(last('changing').moments).toBe(last('within').moments);
  });

  it('are refused where they would be cut, before anything has moved, and go on with room for them', async () => {
    const narrow = loadTrainConfig(configOf('cut', { ...settings, microBatchTokens: 8 }));
    const error = await rejectionOf(reported('cut', (reporter) => train(narrow, reporter)));
    expect(error.code).toBe('INVALID_CONFIG');
    expect(error.message).toMatch(
      /^train\.microBatchTokens must be at least \d+ for this update, which train\.optimizerInBackward makes in one backward pass; got 8/,
    );
    await reported('cut', (reporter) => train(loadTrainConfig(configOf('cut', settings)), reporter));
    expect(last('cut').weights).toBe(last('within').weights);
  });

  it('are those of a cold start, too', async () => {
    const phases = [
      { name: 'labels', demonstrations: [{ files: at('gallery', 'demonstrations.jsonl') }], steps: 3, batchRows: 3 },
    ];
    const run = (output: string, changes: object) => {
      const config = sftConfigOf(output, phases, { train: { saveEverySteps: 2, maxGradNorm: 0, ...changes } });
      return reported(output, (reporter) => sft(loadSftConfig(config), reporter));
    };
    await run('sft-afterwards', {});
    await run('sft-within', { optimizerInBackward: true });
    expect(last('sft-within').weights).toBe(last('sft-afterwards').weights);
    expect(last('sft-within').moments).toBe(last('sft-afterwards').moments);
    expect(await rejectionOf(run('sft-cut', { optimizerInBackward: true, microBatchTokens: 8 }))).toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringMatching(/microBatchTokens must be at least \d+/) as string,
    });
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

describe('a cold start', () => {
  const phases = () => [
    { name: 'labels', demonstrations: [{ files: at('gallery', 'demonstrations.jsonl') }], steps: 3, batchRows: 3 },
    {
      name: 'both',
      demonstrations: [{ files: at('gallery', 'demonstrations.jsonl'), share: 2 }, { files: at('words.jsonl') }],
      ...{ steps: 3, batchRows: 3, learningRate: 1e-3 },
    },
  ];

  it('that is asked to stop in any phase, or before a validation, goes on to the same bytes and the same rows', async () => {
    const configFor = (output: string) => loadSftConfig(sftConfigOf(output, phases(), { eval: { everySteps: 5 } }));
    await reported('sft-straight', (reporter) => sft(configFor('sft-straight'), reporter));
    const config = configFor('sft-stopped');
    for (const last of [1, 3, 5, 6]) {
      const stop = new AbortController();
      const onStep = (step: number) => step === last && stop.abort();
      const result = await reported('sft-stopped', (reporter) => sft(config, reporter, stop.signal), onStep);
      expect(result).toMatchObject({ step: last, stopped: true });
    }
    expect(await reported('sft-stopped', (reporter) => sft(config, reporter))).toMatchObject({
      step: 6,
      stopped: false,
    });
    expect(await validationsOf('sft-stopped', (reporter) => sft(config, reporter))).toBe(0);
    const [stopped, straight] = [outcomeOf('sft-stopped'), outcomeOf('sft-straight')];
    expect({ ...stopped, checkpoints: [] }).toEqual({ ...straight, checkpoints: [] });
  });

  it('draws rows without a picture one by one', async () => {
    const phase = { name: 'words', demonstrations: [{ files: at('words.jsonl') }], steps: 1, batchRows: 2 };
    const config = loadSftConfig(sftConfigOf('sft-words', [phase], { data: { template: 'plain' } }));
    await reported('sft-words', (reporter) => sft(config, reporter));
    const [row] = readFileSync(at('sft-words', 'metrics.jsonl'), 'utf8').split('\n');
    // two of six words, each with its stop token
    expect((JSON.parse(row!) as Record<string, number>)['actor/tokens']).toBeLessThan(12);
  });

  it('lowers the loss of what it is shown', async () => {
    const phase = {
      name: 'words',
      demonstrations: [{ files: at('words.jsonl') }],
      steps: 30,
      batchRows: 6,
      learningRate: 1e-2,
    };
    const config = loadSftConfig(sftConfigOf('sft-learns', [phase], { data: { template: 'plain' } }));
    const losses: number[] = [];
    await reported('sft-learns', (reporter) =>
      sft(config, { ...reporter, step: ({ metrics }) => void losses.push(metrics['sft/loss']!) }),
    );
    expect(losses[0]).toBeGreaterThan(3);
    expect(losses.at(-1)).toBeLessThan(0.5);
  });
});
