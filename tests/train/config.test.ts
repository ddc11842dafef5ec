import { describe, expect, it } from 'vitest';
import { loadSftConfig, loadTrainConfig } from '../../lib/train/config.ts';
import { thrownBy } from '../support/thrown.ts';

const least = {
  output: '/runs/one',
  policy: { path: '/policy' },
  data: { train: '/train.jsonl' },
  train: { steps: 4 },
};

/** The problems of a configuration that is right but for these keys. */
function problemsOf(changes: Record<string, object>): string[] {
  const raw: Record<string, object | string> = { ...least };
  for (const [section, keys] of Object.entries(changes))
    raw[section] = typeof keys === 'object' ? { ...(raw[section] as object), ...keys } : keys;
  const error = thrownBy(() => loadTrainConfig(raw));
  expect(error.code).toBe('INVALID_CONFIG');
  const problems = error.details['problems'] as string[];
  for (const problem of problems) expect(error.message).toContain(problem);
  return problems;
}

describe('a configuration', () => {
  it('has the values of the paper where nothing is said', () => {
    expect(loadTrainConfig(least)).toMatchObject({
      policy: { maxPromptTokens: 16384 },
      rollout: {
        n: 8,
        prompts: 512,
        maxTokens: 4096,
        temperature: 1,
        topP: 1,
        topK: 0,
        filter: { low: 0.01, high: 0.99 },
        maxTries: 20,
      },
      rewards: { formatWeight: 0.1, structureBonus: 'none' },
      algorithm: { name: 'g2rpo', mode: 'group_then_task', clipRange: { low: 0.2, high: 0.3, dual: 3 } },
      train: {
        updatePrompts: 128,
        learningRate: 2e-6,
        decay: 'constant',
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        weightDecay: 0.01,
        maxGradNorm: 1,
        keepLast: 3,
      },
    });
  });

  it('is its own parse', () => {
    const config = loadTrainConfig(least);
    expect(loadTrainConfig(JSON.parse(JSON.stringify(config)))).toEqual(config);
  });

  it('may be spelled as EasyR1 does', () => {
    const config = loadTrainConfig({
      worker: {
        actor: {
          model: { model_path: '/qwen' },
          global_batch_size: 64,
          clip_ratio_high: 0.28,
          optim: { lr: 1e-6, weight_decay: 0 },
        },
        rollout: { n: 5, 'top-p': 0.9 },
      },
      data: { train_files: ['/a.json', '/b.json'], rollout_batch_size: 256, max_response_length: 2048, seed: 7 },
      algorithm: { adv_estimator: 'gs_grpo', filter_low: 0.1 },
      trainer: { save_checkpoint_path: '/runs/two', max_steps: 8, val_freq: 5 },
    });
    expect(config).toMatchObject({
      output: '/runs/two',
      seed: 7,
      policy: { path: '/qwen' },
      data: { train: ['/a.json', '/b.json'] },
      rollout: { n: 5, topP: 0.9, prompts: 256, maxTokens: 2048, filter: { low: 0.1, high: 0.99 } },
      algorithm: { name: 'g2rpo', clipRange: { low: 0.2, high: 0.28 } },
      train: { steps: 8, updatePrompts: 64, learningRate: 1e-6, weightDecay: 0 },
      eval: { everySteps: 5 },
    });
  });

  it('may be spelled as verl does', () => {
    const config = loadTrainConfig({
      actor_rollout_ref: {
        model: { path: '/qwen' },
        actor: { ppo_mini_batch_size: 32, clip_ratio_c: 5, grad_clip: 0.5, optim: { lr: 3e-6 } },
        rollout: { n: 4, temperature: 0.8 },
      },
      data: { train_files: '/a.json', train_batch_size: 64 },
      trainer: { default_local_dir: '/runs/two', total_training_steps: 8, test_freq: 2 },
    });
    expect(config).toMatchObject({
      output: '/runs/two',
      policy: { path: '/qwen' },
      rollout: { n: 4, temperature: 0.8, prompts: 64 },
      algorithm: { clipRange: { dual: 5 } },
      train: { steps: 8, updatePrompts: 32, learningRate: 3e-6, maxGradNorm: 0.5 },
      eval: { everySteps: 2 },
    });
  });
});

describe('a wrong configuration', () => {
  it('is told with all its problems at once', () => {
    const problems = problemsOf({
      rollout: { n: 1, tempreture: 1, filter: { low: 'a' } },
      rewards: { formatWeigth: 0.1 },
      algorithm: { clipRange: { low: 1.2, hihg: 3, dual: 0.5 } },
      train: { updatePrompts: 7.5, learningRate: -1, decay: 'cosin', betas: [1, 0] },
    });
    const wanted = [
      /^rollout\.n: .*2; got 1$/,
      /^rollout\.tempreture: there is no such key; did you mean rollout\.temperature\?$/,
      /^rollout\.filter\.low: .*got "a"$/,
      /^rewards\.formatWeigth: .*did you mean rewards\.formatWeight\?$/,
      /^algorithm\.clipRange\.low: .*got 1\.2$/,
      /^algorithm\.clipRange\.hihg: .*did you mean algorithm\.clipRange\.high\?$/,
      /^algorithm\.clipRange\.dual: must be 0 or above 1; got 0\.5$/,
      /^train\.updatePrompts: .*got 7\.5$/,
      /^train\.learningRate: .*got -1$/,
      /^train\.decay: .*got "cosin"$/,
      /^train\.betas\.0: .*got 1$/,
    ];
    for (const pattern of wanted)
      expect(
        problems.filter((problem) => pattern.test(problem)),
        String(pattern),
      ).toHaveLength(1);
    expect(problems).toHaveLength(wanted.length);
  });

  it('names the algorithms there are', () => {
    expect(problemsOf({ algorithm: { adv_estimator: 'grpoo' } })).toEqual([
      expect.stringMatching(/^algorithm\.name: must be g2rpo, .*got grpoo; did you mean grpo\?/),
    ]);
  });

  it.each([
    [
      'a filter that nothing passes',
      { rollout: { filter: { low: 0.9, high: 0.1 } } },
      /rollout\.filter: low must be below high/,
    ],
    [
      'mini-batches that are not alike',
      { rollout: { prompts: 200 } },
      /train\.updatePrompts: must divide rollout\.prompts \(200\).*got 128/,
    ],
    [
      'a template without the problem',
      { data: { template: 'Think. {options}' } },
      /^data\.template: \{problem\} must appear once/,
    ],
    [
      'a temperature that f32 cannot divide by',
      { rollout: { temperature: 1e-45 } },
      /^rollout\.temperature: must be from 1e-30 to 1e\+30, so that f32 can divide by it; got 1e-45$/,
    ],
    [
      'a penalty that f32 cannot divide by',
      { rollout: { repetitionPenalty: 1e39 } },
      /^rollout\.repetitionPenalty: must be from .*; got 1e\+39$/,
    ],
    [
      'fewer pixels than at least',
      { policy: { minPixels: 9, maxPixels: 3 } },
      /policy\.minPixels: must be at most policy\.maxPixels/,
    ],
    [
      'more than all of a reward for format and length',
      { rewards: { formatWeight: 0.5 }, algorithm: { lengthReward: { weight: 0.6 } } },
      /algorithm\.lengthReward\.weight: must be at most 1 with rewards\.formatWeight \(0\.5\).*got 0\.6/,
    ],
    [
      'calibration of nothing',
      { algorithm: { calibration: { everyBatches: 2 } } },
      /algorithm\.calibration\.everyBatches: must be 0 where lengthReward\.weight and entropyBand\.coef are 0.*got 2/,
    ],
    [
      'one advantage for a response that is discounted by token',
      { algorithm: { name: 'reinforce++', gamma: 0.9, loss: 'gspo' } },
      /^algorithm\.loss: must be gspo-token or another loss, or algorithm\.gamma 1: with algorithm\.gamma 0\.9 advantages differ by token, .*; got "gspo"$/,
    ],
    [
      'one advantage for a response with a KL term taken off every token',
      { algorithm: { adv_estimator: 'reinforce_plus_plus', loss: 'gspo', kl: { coef: 0.1, in: 'reward' } } },
      /^algorithm\.loss: must be gspo-token or another loss, or algorithm\.kl\.in loss: with algorithm\.kl\.in reward .*; got "gspo"$/,
    ],
    [
      'a length reward that changes nothing that is compared',
      { algorithm: { name: 'gdpo', componentWeights: { accuracy: 1, format: 1 }, lengthReward: { weight: 0.1 } } },
      /lengthReward\.weight: must be 0, or .* overall or length a weight: of the components that gdpo compares \(accuracy, format\)/,
    ],
    [
      'a penalty that changes nothing that is compared',
      { algorithm: { name: 'gdpo', componentWeights: { length: 1 }, overlong: { factor: 1 } } },
      /overlong\.factor: must be 0, or .* overall a weight: .*\(length\) it changes none; got 1/,
    ],
    [
      'a component that no reward has',
      { algorithm: { name: 'gdpo', componentWeights: { acuracy: 1 } } },
      /^algorithm\.componentWeights\.acuracy: must be a component .*\(overall, .*length\).*did you mean accuracy\?; got "acuracy"$/,
    ],
    [
      'components without a weight',
      { algorithm: { name: 'gaussian-gdpo', componentWeights: { accuracy: 0 } } },
      /^algorithm\.componentWeights: must give a component a weight other than 0/,
    ],
    [
      'a task that is none',
      { algorithm: { lengthReward: { tasks: { math_reasonin: [1, 2, 3, 4] } } } },
      /algorithm\.lengthReward\.tasks\.math_reasonin: .*did you mean math_reasoning\?/,
    ],
    ['a preset that is none', { preset: 'dpao' }, /^preset: must be one of paper, .*did you mean dapo\?; got "dpao"/],
    ['more than an i32 holds', { rollout: { maxTokens: 2 ** 32 + 2 } }, /rollout\.maxTokens: .*got 4294967298/],
    ['a path with a NUL', { data: { train: 'a\0b' } }, /data\.train: /],
    ['a time that no clock has', { rewards: { timeoutMs: 1e300 } }, /rewards\.timeoutMs: .*got 1e\+300/],
    ['one tag for two', { data: { tags: { think: 'answer' } } }, /data\.tags: must be two different names/],
    ['no sampling', { rollout: { temperature: 0 } }, /rollout\.temperature: .*got 0/],
    [
      'one thing under two names',
      { train: { learningRate: 1 }, worker: { actor: { optim: { lr: 1 } } } },
      /say the same; give one of them/,
    ],
    [
      'a key as others call it',
      { train: { lr: 1 } },
      /^train\.lr: there is no such key; did you mean train\.learningRate\?$/,
    ],
    ['a number that is none', { train: { learningRate: NaN } }, /^train\.learningRate: .*; got NaN$/],
    [
      'an estimator that nobody knows',
      { algorithm: { name: 'grop' } },
      /^algorithm\.name: must be .*; got grop; did you mean grpo\?$/,
    ],
    ['an adapter without a path', { policy: { adapter: '' } }, /^policy\.adapter: /],
    ['a key of another framework', { worker: { actor: { fsdp: {} } } }, /worker: there is no such key/],
  ])('%s', (_, changes, wanted) => {
    const problems = problemsOf(changes as Record<string, object>);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(wanted);
  });

  it('settings that do not go together are told beside those that are wrong by themselves', () => {
    const kl = { coef: 0.1, in: 'reward' };
    const problems = problemsOf({
      algorithm: {
        name: 'reinforce++',
        gamma: 0.5,
        loss: 'gspo',
        kl,
        agregation: 'x',
        calibration: { everyBatches: 1 },
      },
      rollout: { n: 1 },
    });
    const wanted = [/algorithm\.gamma 1/, /algorithm\.kl\.in loss/, /agregation/, /everyBatches/, /^rollout\.n/];
    for (const pattern of wanted)
      expect(
        problems.filter((each) => pattern.test(each)),
        String(pattern),
      ).toHaveLength(1);
    expect(problems).toHaveLength(wanted.length);
    // what is wrong by itself is not looked at with others
    expect(problemsOf({ algorithm: { name: 'reinforce++', gamma: 'x', loss: 'gspo', kl: 3 } })).toHaveLength(2);
    for (const name of [['grpo'], null, {}, 3]) expect(problemsOf({ algorithm: { name } })).toHaveLength(1);
  });

  it.each([
    { name: 'reinforce++', gamma: 0.9, loss: 'gspo-token' },
    { name: 'reinforce++', loss: 'gspo', kl: { coef: 0.1 } },
    { name: 'reinforce++-baseline', loss: 'gspo', kl: { coef: 0.1, in: 'reward' } },
    { name: 'gdpo', variant: 'token_verl', loss: 'gspo' },
  ])('%j goes together', (algorithm) => {
    expect(loadTrainConfig({ ...least, algorithm }).algorithm).toMatchObject(algorithm);
  });

  it.each([null, 3, 'text', []])('%j is none', (raw) => {
    expect(thrownBy(() => loadTrainConfig(raw)).message).toMatch(/the configuration must be a mapping/);
  });
});

it('a cold start has phases, and says so', () => {
  const phase = { name: 'words', demonstrations: [{ files: 'd.jsonl' }], steps: 3 };
  const config = loadSftConfig({ output: 'out', policy: { path: 'p' }, phases: [phase] }, '/base');
  expect(config.phases[0]).toMatchObject({
    batchRows: 32,
    learningRate: 1e-5,
    decay: 'linear',
    demonstrations: [{ files: ['/base/d.jsonl'], share: 1 }],
  });
  expect(config.output).toBe('/base/out');
  expect(thrownBy(() => loadSftConfig({ output: 'out', policy: { path: 'p' }, phases: [] })).message).toMatch(
    /^phases/,
  );
});

describe('what is trained', () => {
  it('is all of it, or said by patterns, or by adapters', () => {
    const parsed = (train: object) => loadTrainConfig({ ...least, train: { ...least.train, ...train } }).train;
    expect(parsed({})).not.toHaveProperty('lora');
    expect(parsed({ freeze: 'model.visual.*' }).freeze).toEqual(['model.visual.*']);
    expect(parsed({ only: ['*.norm.*', 'lm_head.weight'] }).only).toHaveLength(2);
    expect(parsed({ lora: { rank: 4 } }).lora).toMatchObject({ rank: 4, alpha: 32, dropout: 0 });
    expect(parsed({ lora: {} }).lora!.targets).toContain('q_proj');
  });

  it('is said in one way, and without dropout', () => {
    expect(problemsOf({ train: { freeze: 'a', only: 'b' } })).toEqual([
      'train.freeze: stands beside train.only and says the same from the other side; give one of them; got ["a"]',
    ]);
    expect(problemsOf({ train: { only: 'b', lora: {} } })).toEqual([
      'train.only: stands beside train.lora, which trains its adapters alone; give one of them; got ["b"]',
    ]);
    expect(problemsOf({ train: { lora: { dropout: 0.1, rank: 0, targets: [] } } })).toEqual([
      expect.stringContaining('train.lora.rank: '),
      'train.lora.dropout: must be 0: with dropout the policy that is trained is not the one that was sampled; got 0.1',
      expect.stringContaining('train.lora.targets: '),
    ]);
  });

  it('may be averaged, and with moments of 8 bits', () => {
    const train = { ...least.train, optimizer: 'adamw8bit', ema: {} };
    expect(loadTrainConfig({ ...least, train }).train).toMatchObject({
      optimizer: 'adamw8bit',
      ema: { decay: 0.999, validate: true, export: true },
    });
    expect(problemsOf({ train: { optimizer: 'sgd', ema: { decay: 1 } } })).toEqual([
      'train.optimizer: must be adamw or adamw8bit; got "sgd"',
      expect.stringMatching(/^train\.ema\.decay: .*; got 1$/),
    ]);
  });

  it('may be of weights in bf16, with masters of them where these are what is trained', () => {
    const policy = { ...least.policy, weights: 'bf16' };
    const masters = { ...least.train, masterWeights: true };
    expect(loadTrainConfig({ ...least, policy, train: masters }).train.masterWeights).toBe(true);
    expect(loadTrainConfig(least)).toMatchObject({ policy: { weights: 'f32' }, train: { masterWeights: false } });
    const problem = [
      expect.stringMatching(/^train\.masterWeights: .* needs policy\.weights: bf16, and no train\.lora/),
    ];
    expect(problemsOf({ train: { masterWeights: true } })).toEqual(problem);
    expect(problemsOf({ policy, train: { masterWeights: true, lora: {} } })).toEqual(problem);
    expect(problemsOf({ policy: { weights: 'f16' } })).toEqual(['policy.weights: must be f32 or bf16; got "f16"']);
  });

  it('may be updated in the backward pass, but not clipped by a norm that is known afterwards', () => {
    const inBackward = { ...least.train, optimizerInBackward: true };
    expect(loadTrainConfig(least).train.optimizerInBackward).toBe(false);
    expect(loadTrainConfig({ ...least, train: { ...inBackward, maxGradNorm: 0 } }).train.optimizerInBackward).toBe(
      true,
    );
    const problem = [
      expect.stringMatching(/^train\.maxGradNorm: must be 0 with train\.optimizerInBackward: .*; got 1$/),
    ];
    expect(problemsOf({ train: { optimizerInBackward: true } })).toEqual(problem);
    expect(problemsOf({ train: { optimizerInBackward: true, maxGradNorm: 1 } })).toEqual(problem);
  });

  it('is said to a cold start in the same words', () => {
    const phases = [{ name: 'a', demonstrations: [{ files: 'a.jsonl' }], steps: 1 }];
    const cold = { output: '/o', policy: { path: '/p', adapter: 'here' }, phases, train: { lora: {}, freeze: ['x'] } };
    expect(thrownBy(() => loadSftConfig(cold)).message).toContain('train.freeze: stands beside train.lora');
    const { policy } = loadSftConfig({ ...cold, train: { freeze: ['x'] } }, '/base');
    expect(policy.adapter).toBe('/base/here');
  });
});
