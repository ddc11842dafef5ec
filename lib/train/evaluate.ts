import { loadDataset } from '../data/dataset.ts';
import { validate } from '../eval/validate.ts';
import { G2rpoError } from '../runtime/errors.ts';
import type { ValidationReport } from '../types.ts';
import { answererOf } from './answerer.ts';
import { rewardsBeforehand } from './beforehand.ts';
import type { TrainConfig } from './config.ts';
import { rowOptionsOf } from './scoredBy.ts';
import { loadPolicy } from './trainee.ts';

/**
 * How the policy of a configuration fares on its held-out prompts, as a validation of training does. Nothing is written.
 *
 * @throws INVALID_CONFIG  there are no held-out prompts
 * @throws INVALID_CHECKPOINT, INVALID_DATA, INVALID_IMAGE, INVALID_VIDEO, INVALID_PROMPT, NO_PROMPTS, IO
 */
export async function evaluate(config: TrainConfig): Promise<ValidationReport> {
  if (!config.data.validation)
    throw new G2rpoError('INVALID_CONFIG', 'data.validation must name held-out prompts; it is not there');
  const { prompts, skipped } = loadDataset(config.data.validation, rowOptionsOf(config));
  const rewards = await rewardsBeforehand(config);
  try {
    using policy = await loadPolicy(config);
    const answerer = answererOf(policy, rewards, {
      ...config.rollout,
      maxPromptTokens: config.policy.maxPromptTokens,
      text: config.data,
      onBadRow: config.data.onBadRow,
    });
    const report = await validate(prompts, answerer, { ...config.eval, step: 0 });
    return { ...report, skipped: [...skipped.map(({ reason }) => reason), ...report.skipped] };
  } finally {
    await rewards.close();
  }
}
