import type { Random } from './random.ts';
import type { LevelMix } from './sample.ts';
import type { Scene } from './scene.ts';

/** What a file of demonstrations holds. Shares are in [0, 1]. */
export interface DemonstrationPlan {
  /** pictures */
  scenes: number;
  levels?: LevelMix;
  /** naming rows per picture, each with another question (as many as its task has, if that is fewer); default 2 */
  naming?: number;
  /** share of pictures that also give an answer row; default 1 */
  answered?: number;
  /** share of answers with a written thought, always right; the others think nothing; default 0.5 */
  careful?: number;
  /** share of the thoughtless answers that are the hasty one; default 0 */
  habits?: number;
  /** share of answers with a fault of format; default 0 */
  faults?: number;
}

const FAULTS: readonly ((thought: string, answer: string) => string)[] = [
  (thought, answer) => `<think>${thought}<answer>${answer}</answer>`,
  (thought, answer) => `<think>${thought}</think><answer>${answer}`,
  (_, answer) => `<answer>${answer}</answer>`,
  (thought, answer) => `<think>${thought}</think>${answer}`,
];

/** A response of the right form. */
export function respond(thought: string, answer: string): string {
  return `<think>${thought}</think><answer>${answer}</answer>`;
}

/** The response that is demonstrated for a scene: careful, thoughtless or hasty, and now and then ill-formed. */
export function demonstrate(
  scene: Scene,
  { careful, habits, faults }: Pick<Required<DemonstrationPlan>, 'careful' | 'habits' | 'faults'>,
  random: Random,
): string {
  const thoughtful = random.chance(careful);
  const hasty = random.chance(habits) && !thoughtful;
  const thought = thoughtful ? scene.thought : '';
  const answer = hasty ? scene.hasty : scene.answer;
  const write = random.chance(faults) ? random.pick(FAULTS) : respond;
  return write(thought, answer);
}
