import { CORRECT } from '../algorithms/shaping/proposal.ts';
import { formatTable } from '../report/table.ts';
import { ENTROPY_SHARES, LENGTH_SHARES, type CalibrateOptions, type TaskCalibration } from './calibrate.ts';
import type { TrainConfig } from './config.ts';

/**
 * Proposed bounds as a part of a configuration, in YAML, with what they rest on as comments. The same for the same measurements: it
 * tells of no time or place.
 */
export function formatCalibration(
  found: readonly TaskCalibration[],
  config: TrainConfig,
  { prompts, n = config.rollout.n }: Pick<CalibrateOptions, 'prompts' | 'n'>,
): string {
  const { lengthReward, entropyBand, calibration } = config.algorithm;
  const { temperature, topP, topK, maxTokens } = config.rollout;
  const proposed = found.flatMap(({ task, proposal }) => (proposal ? [{ task, ...proposal }] : []));
  const shares = (list: readonly number[]) => list.map((share) => `${Math.round(100 * share)} %`);
  const table = formatTable([
    ['task', 'prompts', 'rollouts', 'right', ...shares(LENGTH_SHARES), ...shares(ENTROPY_SHARES)],
    ...found.map((each) => [
      ...[each.task, ...[each.prompts, each.rollouts, each.correct].map(String)],
      ...each.lengths.map((length) => String(Math.round(10 * length) / 10)),
      ...each.entropies.map((entropy) => entropy.toFixed(3)),
    ]),
  ]);
  const lost = found.filter(({ failed, skipped }) => failed + skipped > 0);
  const comments = [
    `Bounds of shaping, from up to ${prompts} prompts of every task type and ${n} rollouts of each.`,
    `policy.path ${config.policy.path}, seed ${config.seed}, rollout.temperature ${temperature}, topP ${topP}, topK ${topK}, maxTokens ${maxTokens}`,
    `Right are answers with an accuracy of at least ${CORRECT}. Below are quantiles of theirs: length in ${lengthReward.unit}, then mean entropy in nats.`,
    '',
    ...table.split('\n'),
    '',
    ...found
      .filter(({ proposal }) => !proposal)
      .map(
        ({ task, correct, rollouts }) =>
          `${task}: no proposal, ${correct} of ${rollouts} rollouts are right and algorithm.calibration.minCorrect wants ${calibration.minCorrect}`,
      ),
    ...lost.map(
      ({ task, failed, skipped }) => `${task}: ${failed} rollouts without a reward, ${skipped} prompts unreadable`,
    ),
    `They act where algorithm.lengthReward.weight (here ${lengthReward.weight}) and algorithm.entropyBand.coef (here ${entropyBand.coef}) are above 0.`,
  ];
  const body =
    proposed.length === 0
      ? ['algorithm: {}']
      : [
          'algorithm:',
          '  lengthReward:',
          `    unit: ${lengthReward.unit}`,
          '    tasks:',
          ...proposed.map(({ task, thresholds }) => `      ${task}: [${thresholds.join(', ')}]`),
          '  entropyBand:',
          '    tasks:',
          ...proposed.map(({ task, band }) => `      ${task}: { min: ${band.min}, max: ${band.max} }`),
        ];
  return `${[...comments.map((line) => `# ${line}`.trimEnd()), ...body].join('\n')}\n`;
}
