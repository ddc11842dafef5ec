/** How the learning rate moves over a run. */
export interface ScheduleConfig {
  /** at its highest */
  learningRate: number;
  /** updates over which it rises from 0 */
  warmupSteps: number;
  /** what it does after that */
  decay: 'constant' | 'linear' | 'cosine';
  /** share of the highest that a decay ends at */
  finalShare: number;
}

/**
 * The learning rate of an update, counted from 1. It rises evenly over the warm-up, and reaches its final share at the last of
 * `totalSteps`; later updates keep that.
 */
export function learningRateAt(step: number, totalSteps: number, config: ScheduleConfig): number {
  const { learningRate, warmupSteps, decay, finalShare } = config;
  if (step <= warmupSteps) return (learningRate * step) / warmupSteps;
  if (decay === 'constant' || totalSteps <= warmupSteps) return learningRate;
  const done = Math.min(1, (step - warmupSteps) / (totalSteps - warmupSteps));
  const left = decay === 'linear' ? 1 - done : (1 + Math.cos(Math.PI * done)) / 2;
  return learningRate * (finalShare + (1 - finalShare) * left);
}
