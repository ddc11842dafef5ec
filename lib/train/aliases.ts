import { ESTIMATOR_ALIASES } from '../algorithms/index.ts';
import { takeAt, getAt, setAt, type ConfigTree, type Spelling } from './parseConfig.ts';

/** What users of EasyR1 and verl call things. */
const NAMES: Readonly<Record<string, string>> = {
  'worker.actor.model.modelPath': 'policy.path',
  'data.maxPromptLength': 'policy.maxPromptTokens',
  'data.minPixels': 'policy.minPixels',
  'data.maxPixels': 'policy.maxPixels',
  'data.videoFps': 'policy.video.fps',
  'data.trainFiles': 'data.train',
  'data.valFiles': 'data.validation',
  'data.seed': 'seed',
  'data.rolloutBatchSize': 'rollout.prompts',
  'data.trainBatchSize': 'rollout.prompts',
  'data.maxResponseLength': 'rollout.maxTokens',
  'worker.rollout.n': 'rollout.n',
  'worker.rollout.temperature': 'rollout.temperature',
  'worker.rollout.topP': 'rollout.topP',
  'worker.rollout.topK': 'rollout.topK',
  'algorithm.advEstimator': 'algorithm.name',
  'algorithm.filterLow': 'rollout.filter.low',
  'algorithm.filterHigh': 'rollout.filter.high',
  'algorithm.klCoef': 'algorithm.kl.coef',
  'algorithm.klPenalty': 'algorithm.kl.kind',
  'algorithm.klTarget': 'algorithm.kl.target',
  'algorithm.klHorizon': 'algorithm.kl.horizon',
  'trainer.maxTryMakeBatch': 'rollout.maxTries',
  'worker.reward.rewardFunction': 'rewards.file',
  'worker.actor.globalBatchSize': 'train.updatePrompts',
  'worker.actor.clipRatioLow': 'algorithm.clipRange.low',
  'worker.actor.clipRatioHigh': 'algorithm.clipRange.high',
  'worker.actor.clipRatioDual': 'algorithm.clipRange.dual',
  'worker.actor.lossType': 'algorithm.loss',
  'worker.actor.lossAvgMode': 'algorithm.aggregation',
  'worker.actor.tauPositive': 'algorithm.tau.positive',
  'worker.actor.tauNegative': 'algorithm.tau.negative',
  'worker.actor.maxGradNorm': 'train.maxGradNorm',
  'worker.actor.offload.offloadOptimizer': 'train.offloadOptimizer',
  'worker.actor.optim.lr': 'train.learningRate',
  'worker.actor.optim.weightDecay': 'train.weightDecay',
  'worker.actor.optim.betas': 'train.betas',
  'worker.actor.optim.lrWarmupSteps': 'train.warmupSteps',
  'worker.actor.optim.lrSchedulerType': 'train.decay',
  'trainer.maxSteps': 'train.steps',
  'trainer.saveFreq': 'train.saveEverySteps',
  'trainer.saveLimit': 'train.keepLast',
  'trainer.saveCheckpointPath': 'output',
  'trainer.valFreq': 'eval.everySteps',
  'trainer.valBeforeTrain': 'eval.before',
  'trainer.valGenerationsToLog': 'eval.samples',
  'actorRolloutRef.model.path': 'policy.path',
  'actorRolloutRef.rollout.n': 'rollout.n',
  'actorRolloutRef.rollout.temperature': 'rollout.temperature',
  'actorRolloutRef.rollout.topP': 'rollout.topP',
  'actorRolloutRef.rollout.topK': 'rollout.topK',
  'actorRolloutRef.actor.ppoMiniBatchSize': 'train.updatePrompts',
  'actorRolloutRef.actor.clipRatioLow': 'algorithm.clipRange.low',
  'actorRolloutRef.actor.clipRatioHigh': 'algorithm.clipRange.high',
  'actorRolloutRef.actor.clipRatioC': 'algorithm.clipRange.dual',
  'actorRolloutRef.actor.policyLoss.lossMode': 'algorithm.loss',
  'actorRolloutRef.actor.lossAggMode': 'algorithm.aggregation',
  'actorRolloutRef.actor.lossScaleFactor': 'algorithm.lengthNormaliser',
  'actorRolloutRef.actor.tauPos': 'algorithm.tau.positive',
  'actorRolloutRef.actor.tauNeg': 'algorithm.tau.negative',
  'actorRolloutRef.actor.klLossCoef': 'algorithm.kl.coef',
  'actorRolloutRef.actor.klLossType': 'algorithm.kl.kind',
  'algorithm.klCtrl.klCoef': 'algorithm.kl.coef',
  'algorithm.klCtrl.targetKl': 'algorithm.kl.target',
  'algorithm.klCtrl.horizon': 'algorithm.kl.horizon',
  'algorithm.rolloutCorrection.rolloutIs': 'algorithm.rolloutCorrection.level',
  'algorithm.rolloutCorrection.rolloutIsThreshold': 'algorithm.rolloutCorrection.cap',
  'algorithm.rolloutCorrection.rolloutIsBatchNormalize': 'algorithm.rolloutCorrection.normalise',
  'actorRolloutRef.actor.gradClip': 'train.maxGradNorm',
  'actorRolloutRef.actor.fsdpConfig.optimizerOffload': 'train.offloadOptimizer',
  'actorRolloutRef.actor.optim.lr': 'train.learningRate',
  'actorRolloutRef.actor.optim.weightDecay': 'train.weightDecay',
  'actorRolloutRef.actor.optim.lrWarmupSteps': 'train.warmupSteps',
  'trainer.totalTrainingSteps': 'train.steps',
  'trainer.testFreq': 'eval.everySteps',
  'trainer.defaultLocalDir': 'output',
};

/** What they call values that mean the same, by our key. */
const VALUES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'algorithm.name': ESTIMATOR_ALIASES,
  'algorithm.loss': { default: 'ppo', vanilla: 'ppo', gspo_token: 'gspo-token' },
  'algorithm.aggregation': { token: 'token-mean', seq: 'easyr1-seq' },
  'algorithm.kl.kind': { kl: 'k1', mse: 'k2', low_var_kl: 'k3', 'low_var_kl+': 'k3+' },
  'algorithm.rolloutCorrection.level': { null: 'none' },
  'rollout.topK': { '-1': 0 },
};

/** Spellings that configurations of ours are read in. */
export const SPELLING: Spelling = {
  names: new Map(Object.entries(NAMES)),
  values: VALUES,
  named: ['algorithm.entropyBand.tasks', 'algorithm.lengthReward.tasks', 'algorithm.componentWeights'],
  switches,
};

const VERL_MODEL = 'actorRolloutRef.model';
const [ACTOR, CONTROL] = ['actorRolloutRef.actor', 'algorithm.klCtrl'];

/** Keys that switch on or off what is a number or a name with us; what they switch off is not looked at. */
function switches(config: ConfigTree, problems: string[]): void {
  const take = (key: string): unknown => takeAt(config, key.split('.'));
  const drop = (...keys: string[]) => keys.forEach(take);
  const put = (key: string, value: unknown, because: string) => {
    if (getAt(config, key.split('.')) === undefined) setAt(config, key.split('.'), value);
    else problems.push(`${because} and ${key} say the same; give one of them`);
  };
  const flag = (key: string): boolean | undefined => {
    const value = take(key);
    if (value === undefined || typeof value === 'boolean') return value;
    problems.push(`${key}: must be true or false; got ${JSON.stringify(value)}`);
    return undefined;
  };
  const kindOf = (key: string): void => {
    const kind = take(key);
    const prefix = key.startsWith(CONTROL) ? [`${CONTROL}.targetKl`, `${CONTROL}.horizon`] : [];
    if (kind === 'fixed') drop('algorithm.klTarget', 'algorithm.klHorizon', ...prefix);
    else if (kind !== undefined && kind !== 'adaptive')
      problems.push(`${key}: must be fixed or adaptive; got ${JSON.stringify(kind)}`);
  };

  const [disabled, inLoss] = [flag('algorithm.disableKl'), flag('algorithm.useKlLoss')];
  kindOf('algorithm.klType');
  if (disabled) {
    drop('algorithm.klCoef', 'algorithm.klPenalty', 'algorithm.klTarget', 'algorithm.klHorizon');
    put('algorithm.kl.coef', 0, 'algorithm.disableKl');
  } else if (inLoss !== undefined) put('algorithm.kl.in', inLoss ? 'loss' : 'reward', 'algorithm.useKlLoss');

  const [loss, reward] = [flag(`${ACTOR}.useKlLoss`), flag('algorithm.useKlInReward')];
  kindOf(`${CONTROL}.type`);
  if (loss && reward)
    problems.push(`${ACTOR}.useKlLoss and algorithm.useKlInReward: a KL term stands in one of them; got both`);
  else if (loss) put('algorithm.kl.in', 'loss', `${ACTOR}.useKlLoss`);
  else if (reward) put('algorithm.kl.in', 'reward', 'algorithm.useKlInReward');
  if (loss === false || reward) drop(`${ACTOR}.klLossCoef`, `${ACTOR}.klLossType`);
  if (reward === false || loss) drop(`${CONTROL}.klCoef`, `${CONTROL}.targetKl`, `${CONTROL}.horizon`);
  if (reward === false) drop('algorithm.klPenalty');
  if (loss === false && !reward) put('algorithm.kl.coef', 0, `${ACTOR}.useKlLoss`);

  const [filtering, metric] = [flag('algorithm.onlineFiltering'), take('algorithm.filterKey')];
  if (filtering === false) {
    drop('algorithm.filterLow', 'algorithm.filterHigh');
    put('rollout.filter.low', -1, 'algorithm.onlineFiltering');
    put('rollout.filter.high', 2, 'algorithm.onlineFiltering');
  } else if (metric !== undefined && metric !== 'accuracy')
    problems.push(`algorithm.filterKey: must be accuracy; got ${JSON.stringify(metric)}`);

  if (flag('worker.actor.model.freezeVisionTower'))
    put('train.freeze', ['model.visual.*'], 'worker.actor.model.freezeVisionTower');
  const [rank, alpha, targets] = ['loraRank', 'loraAlpha', 'targetModules'].map((key) => take(`${VERL_MODEL}.${key}`));
  if (rank !== undefined && rank !== 0) {
    put('train.lora.rank', rank, `${VERL_MODEL}.loraRank`);
    if (alpha !== undefined) put('train.lora.alpha', alpha, `${VERL_MODEL}.loraAlpha`);
    const all = targets === 'all-linear' ? ['*'] : targets;
    if (all !== undefined) put('train.lora.targets', all, `${VERL_MODEL}.targetModules`);
  }

  if (flag('algorithm.normAdvByStdInGrpo') === false) {
    const name = take('algorithm.advEstimator') ?? 'nothing';
    if (name === 'grpo') put('algorithm.name', 'dr-grpo', 'algorithm.normAdvByStdInGrpo');
    else problems.push(`algorithm.normAdvByStdInGrpo: stands beside algorithm.advEstimator grpo; got ${String(name)}`);
  }
}
