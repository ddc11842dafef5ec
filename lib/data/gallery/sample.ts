import { G2rpoError } from '../../runtime/errors.ts';
import { FAMILIES } from './families/index.ts';
import { Random } from './random.ts';
import { LEVELS, sceneHash, type Level, type Scene, type Task } from './scene.ts';

/** Shares of the levels; they need not sum to 1. */
export type LevelMix = Partial<Record<Level, number>>;
export const DEFAULT_LEVELS: LevelMix = { 1: 0.7, 2: 0.3 };

/** The three uses of scenes. Every conceivable picture belongs to exactly one of them. */
export const PARTS = ['validation', 'train', 'demonstrations'] as const;
export type Part = (typeof PARTS)[number];

const MOST_TRIES = 1000;

/** Where a picture belongs, from its content alone: 2, 7 and 7 sixteenths of all pictures. */
export function partOf(scene: Scene): Part {
  const slot = parseInt(sceneHash(scene)[0]!, 16);
  return slot < 2 ? 'validation' : slot < 9 ? 'train' : 'demonstrations';
}

/** Which scene of which stream. */
export interface ScenePlace {
  seed: number;
  /** streams of different names are unrelated, even within one part */
  stream: string;
  part: Part;
  task: Task;
  index: number;
}

/**
 * The scene at a place: a pure function of the arguments, so that any scene can be made without those before it.
 * Scenes of other parts are passed over; no scene of one part ever occurs in another, whatever the seeds.
 *
 * @throws INTERNAL  a thousand scenes in a row belonged to other parts
 */
export function sampleScene({ seed, stream, part, task, index }: ScenePlace, levels: LevelMix = DEFAULT_LEVELS): Scene {
  const random = new Random('scene', seed, stream, task, index);
  const level = pickLevel(random, levels);
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    const scene: Scene = { task, level, ...FAMILIES[task].sample(random, level) };
    if (partOf(scene) === part) return scene;
  }
  const message = `gallery: no scene of ${task}, level ${level} for ${part} in ${MOST_TRIES} tries`;
  throw new G2rpoError('INTERNAL', message, { task, level, part });
}

function pickLevel(random: Random, levels: LevelMix): Level {
  const total = LEVELS.reduce((sum, level) => sum + (levels[level] ?? 0), 0);
  let rest = random.uniform() * total;
  const present = LEVELS.filter((level) => (levels[level] ?? 0) > 0);
  return present.find((level) => (rest -= levels[level]!) < 0) ?? present.at(-1)!;
}
