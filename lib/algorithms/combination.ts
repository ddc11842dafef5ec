import type { EstimatorChoice } from './estimator.ts';
import type { ObjectiveConfig } from './objective.ts';

/** What is wrong with two settings that are right by themselves; `path` is that of the one to be changed. */
export interface CombinationProblem {
  path: string[];
  message: string;
  input: unknown;
}

/**
 * Settings of an objective that do not go together, all of them. Sections that are wrong by themselves may be missing or of another
 * kind: of those nothing is said.
 */
export function combinationProblems(
  estimator: EstimatorChoice,
  config: Readonly<Record<string, unknown>>,
): CombinationProblem[] {
  const { loss, kl, calibration, lengthReward, overlong, entropyBand } = config as Partial<ObjectiveConfig>;
  const inReward = isOn(kl?.coef) && kl?.in === 'reward';
  const shaped = isOn(lengthReward?.weight) || isOn(entropyBand?.coef);
  return [
    ...(loss === 'gspo' ? tokensApart(estimator, config, inReward) : []),
    ...unseen(estimator, config, ['lengthReward', 'weight'], lengthReward?.weight, ['overall', 'length']),
    ...unseen(estimator, config, ['overlong', 'factor'], overlong?.factor, ['overall']),
    ...problemIf(inReward && estimator.penalties === 'none', {
      path: ['kl', 'in'],
      message: `must be loss: ${estimator.name} compares the components of a reward, from which a KL term cannot be taken off`,
      input: 'reward',
    }),
    ...problemIf(
      isOn(calibration?.everyBatches) && lengthReward !== undefined && entropyBand !== undefined && !shaped,
      {
        path: ['calibration', 'everyBatches'],
        message: 'must be 0 where lengthReward.weight and entropyBand.coef are 0: there is no shaping to calibrate',
        input: calibration?.everyBatches,
      },
    ),
  ];
}

/** Shaping changes some components of a reward; an estimator that compares others would not see it. */
function unseen(
  { name }: EstimatorChoice,
  config: Readonly<Record<string, unknown>>,
  path: string[],
  weight: number | undefined,
  changed: string[],
): CombinationProblem[] {
  const compared = config['componentWeights'] as Readonly<Record<string, number>> | undefined;
  if (typeof compared !== 'object' || compared === null) return [];
  return problemIf(isOn(weight) && changed.every((component) => !compared[component]), {
    path,
    message: `must be 0, or algorithm.componentWeights must give ${changed.join(' or ')} a weight: of the components that ${name} compares (${Object.keys(compared).join(', ')}) it changes none`,
    input: weight,
  });
}

const isOn = (weight: unknown): boolean => typeof weight === 'number' && weight > 0;
const problemIf = (wrong: boolean, problem: CombinationProblem): CombinationProblem[] => (wrong ? [problem] : []);

/** Why tokens of a response would get different advantages, of which gspo can take none. */
function tokensApart(
  { name, penalties, alike }: EstimatorChoice,
  config: Readonly<Record<string, unknown>>,
  inReward: boolean,
): CombinationProblem[] {
  const problem = (remedy: string, why: string): CombinationProblem => ({
    path: ['loss'],
    message: `must be gspo-token or another loss, or ${remedy}: ${why}, and gspo wants one advantage for a whole response`,
    input: 'gspo',
  });
  return [
    ...Object.entries(alike ?? {}).flatMap(([key, value]) =>
      problemIf(typeof config[key] === typeof value && config[key] !== value, {
        ...problem(
          `algorithm.${key} ${String(value)}`,
          `with algorithm.${key} ${String(config[key])} advantages differ by token`,
        ),
      }),
    ),
    ...problemIf(
      inReward && penalties === 'own',
      problem('algorithm.kl.in loss', `with algorithm.kl.in reward ${name} takes the KL term off every token`),
    ),
  ];
}
