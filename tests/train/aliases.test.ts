import { describe, expect, it } from 'vitest';
import { loadTrainConfig } from '../../lib/train/config.ts';
import { thrownBy } from '../support/thrown.ts';

const least = { output: '/o', policy: { path: '/p' }, data: { train: '/t' }, train: { steps: 4 } };
const algorithmOf = (more: object) => loadTrainConfig({ ...least, ...more }).algorithm;
const problemsOf = (more: object) => thrownBy(() => loadTrainConfig({ ...least, ...more })).details['problems'];

describe('as EasyR1 writes it', () => {
  it('a KL term in the loss', () => {
    const algorithm = { adv_estimator: 'grpo', disable_kl: false, use_kl_loss: true, kl_penalty: 'low_var_kl' };
    const more = { kl_coef: 0.01, kl_type: 'fixed', kl_horizon: 10000, kl_target: 0.1 };
    const { kl } = algorithmOf({ algorithm: { ...algorithm, ...more } });
    expect(kl).toEqual({ coef: 0.01, kind: 'k3', in: 'loss', horizon: 10_000 });
  });
  it('a KL term in the reward, with a coefficient that adapts', () => {
    const algorithm = { adv_estimator: 'grpo', use_kl_loss: false, kl_penalty: 'kl', kl_coef: 0.01 };
    const { kl } = algorithmOf({ algorithm: { ...algorithm, kl_type: 'adaptive', kl_target: 0.1, kl_horizon: 500 } });
    expect(kl).toEqual({ coef: 0.01, kind: 'k1', in: 'reward', target: 0.1, horizon: 500 });
  });
  it('none, whatever its coefficient', () => {
    const { kl } = algorithmOf({ algorithm: { disable_kl: true, use_kl_loss: true, kl_coef: 0.01 } });
    expect(kl.coef).toBe(0);
  });
  it.each([
    ['default', 'ppo'],
    ['gspo', 'gspo'],
    ['gspo_token', 'gspo-token'],
    ['cispo', 'cispo'],
    ['sapo', 'sapo'],
  ])('loss_type %s is %s', (loss_type, loss) =>
    expect(algorithmOf({ worker: { actor: { loss_type } } }).loss).toBe(loss),
  );
  it.each([
    ['token', 'token-mean'],
    ['seq', 'easyr1-seq'],
  ])('loss_avg_mode %s is %s', (loss_avg_mode, aggregation) =>
    expect(algorithmOf({ worker: { actor: { loss_avg_mode } } }).aggregation).toBe(aggregation),
  );
  it('filtering that is off, and a top_k that is', () => {
    const algorithm = { online_filtering: false, filter_key: 'overall', filter_low: 0.1, filter_high: 0.9 };
    const { rollout } = loadTrainConfig({ ...least, algorithm, worker: { rollout: { top_k: -1 } } });
    expect(rollout).toMatchObject({ filter: { low: -1, high: 2 }, topK: 0 });
  });
});

it('a vision tower that EasyR1 freezes, and one that it does not', () => {
  const frozen = (freeze_vision_tower: boolean) =>
    loadTrainConfig({ ...least, worker: { actor: { model: { freeze_vision_tower } } } }).train.freeze;
  expect(frozen(true)).toEqual(['model.visual.*']);
  expect(frozen(false)).toBeUndefined();
});

describe('as verl writes it', () => {
  it('LoRA, and none', () => {
    const lora = (model: object) => loadTrainConfig({ ...least, actor_rollout_ref: { model } }).train.lora;
    expect(lora({ lora_rank: 32, lora_alpha: 64, target_modules: 'all-linear' })).toMatchObject({
      rank: 32,
      alpha: 64,
      targets: ['*'],
    });
    expect(lora({ lora_rank: 8, target_modules: ['q_proj'] })).toMatchObject({ rank: 8, targets: ['q_proj'] });
    expect(lora({ lora_rank: 0, lora_alpha: 16, target_modules: 'all-linear' })).toBeUndefined();
    expect(
      problemsOf({ ...least, train: { steps: 4, lora: { rank: 2 } }, actor_rollout_ref: { model: { lora_rank: 8 } } }),
    ).toEqual(['actorRolloutRef.model.loraRank and train.lora.rank say the same; give one of them']);
  });
  it('a KL term in the loss', () => {
    const actor = { use_kl_loss: true, kl_loss_coef: 0.002, kl_loss_type: 'mse', loss_agg_mode: 'seq-mean-token-sum' };
    const algorithm = { use_kl_in_reward: false, kl_penalty: 'kl', kl_ctrl: { type: 'fixed', kl_coef: 0.1 } };
    expect(algorithmOf({ actor_rollout_ref: { actor }, algorithm })).toMatchObject({
      kl: { coef: 0.002, kind: 'k2', in: 'loss' },
      aggregation: 'seq-mean-token-sum',
    });
  });
  it('a KL term in the reward', () => {
    const actor = { use_kl_loss: false, kl_loss_coef: 0.002, kl_loss_type: 'low_var_kl' };
    const control = { type: 'adaptive', kl_coef: 0.1, target_kl: 0.2, horizon: 300 };
    const algorithm = { adv_estimator: 'grpo', use_kl_in_reward: true, kl_penalty: 'kl', kl_ctrl: control };
    const { kl } = algorithmOf({ actor_rollout_ref: { actor }, algorithm });
    expect(kl).toEqual({ coef: 0.1, kind: 'k1', in: 'reward', target: 0.2, horizon: 300 });
  });
  it('none of both', () => {
    const actor = { use_kl_loss: false, kl_loss_coef: 0.002, kl_loss_type: 'low_var_kl' };
    const algorithm = { use_kl_in_reward: false, kl_ctrl: { kl_coef: 0.1 } };
    expect(algorithmOf({ actor_rollout_ref: { actor }, algorithm }).kl.coef).toBe(0);
  });
  it('Dr. GRPO, and other losses', () => {
    const actor = { loss_agg_mode: 'seq-mean-token-sum-norm', loss_scale_factor: 100 };
    const algorithm = { adv_estimator: 'grpo', norm_adv_by_std_in_grpo: false };
    expect(algorithmOf({ actor_rollout_ref: { actor }, algorithm })).toMatchObject({
      name: 'dr-grpo',
      aggregation: 'seq-mean-token-sum-norm',
      lengthNormaliser: 100,
    });
    const other = { policy_loss: { loss_mode: 'vanilla' } };
    expect(algorithmOf({ actor_rollout_ref: { actor: other } }).loss).toBe('ppo');
  });
  it('truncated importance sampling', () => {
    const rollout_correction = { rollout_is: 'token', rollout_is_threshold: 3 };
    expect(algorithmOf({ algorithm: { rollout_correction } }).rolloutCorrection).toMatchObject({
      level: 'token',
      cap: 3,
    });
    expect(algorithmOf({ algorithm: { rollout_correction: { rollout_is: null } } }).rolloutCorrection.level).toBe(
      'none',
    );
  });
});

describe('what does not map', () => {
  it.each([
    [{ algorithm: { use_kl_loss: 'yes' } }, /^algorithm\.useKlLoss: must be true or false; got "yes"$/],
    [{ algorithm: { kl_type: 'sometimes' } }, /^algorithm\.klType: must be fixed or adaptive; got "sometimes"$/],
    [{ algorithm: { kl_penalty: 'full' } }, /^algorithm\.kl\.kind: must be k1 or .*; got "full"$/],
    [{ algorithm: { filter_key: 'overall' } }, /^algorithm\.filterKey: must be accuracy; got "overall"$/],
    [{ algorithm: { adv_estimator: 'rloo', norm_adv_by_std_in_grpo: false } }, /stands beside .*grpo; got rloo$/],
    [{ algorithm: { disable_kl: true, kl: { coef: 1 } } }, /algorithm\.disableKl and algorithm\.kl\.coef say the same/],
    [
      { algorithm: { use_kl_in_reward: true }, actor_rollout_ref: { actor: { use_kl_loss: true } } },
      /a KL term stands in one of them; got both$/,
    ],
    [{ worker: { actor: { loss_type: 'gspoo' } } }, /^algorithm\.loss: must be ppo or .*; got "gspoo"$/],
  ])('%j', (more, message) => expect(problemsOf(more)).toEqual([expect.stringMatching(message)]));
});

it('task names are names, in any place they can stand', () => {
  const tasks = { math_reasoning: [1, 2, 3, 4] };
  const { lengthReward, entropyBand } = algorithmOf({
    algorithm: { length_reward: { tasks }, entropy_band: { tasks: { chart_figure_qa: { min: 0, max: 1 } } } },
  });
  expect(lengthReward.tasks).toEqual(tasks);
  expect(entropyBand.tasks).toEqual({ chart_figure_qa: { min: 0, max: 1 } });
});
