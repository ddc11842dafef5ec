import { G2rpoError } from '../../runtime/errors.ts';
import type { Algorithm } from '../algorithm.ts';
import { ppo } from '../losses/ppo.ts';
import { advantages } from './advantages.ts';
import { g2rpoConfig, type G2rpoConfig } from './config.ts';

/**
 * G²RPO: Gaussian advantages, learnt by the clipped policy gradient as a mean over tokens. It remembers nothing.
 *
 * @source arXiv:2604.08539
 */
export function g2rpo(settings: Partial<G2rpoConfig> = {}): Algorithm {
  const config = g2rpoConfig.parse(settings);
  return {
    name: 'g2rpo',
    advantages: (batch) => advantages(batch, config.advantages),
    prepare: async (mini) => ppo(mini, config.clipRange),
    state: () => null,
    restore(state) {
      if (state !== null)
        throw new G2rpoError('INVALID_CHECKPOINT', `g2rpo: remembers nothing; got ${JSON.stringify(state)}`);
    },
  };
}
