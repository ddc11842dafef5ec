import { SIDES } from './families/family.ts';
import { respond } from './demonstrations.ts';
import { labelWords, NAMING_QUESTIONS } from './labels.ts';
import { COLOURS } from './palette.ts';
import { sampleScene } from './sample.ts';
import { KINDS, LEVELS, TASKS } from './scene.ts';

const SCENES_PER_LEVEL = 40;

/** What a tokenizer for the gallery must have as one token each: every label, and the words of options and thoughts. */
export const singleTokenWords: readonly string[] = [
  ...labelWords,
  ...NAMING_QUESTIONS,
  ...[...COLOURS, ...KINDS, ...SIDES].map((word) => ` ${word}`),
  'user',
  'assistant',
  'system',
];

/**
 * Texts as they occur in prompts and responses of the gallery, always the same ones. Letters to be read are left out:
 * merged, they would be other tokens in other neighbourhoods.
 */
export function tokenizerCorpus(): string[] {
  const texts = ['user\n', 'assistant\n', 'system\n', ...NAMING_QUESTIONS.map((question) => `${question} `)];
  for (const task of TASKS)
    for (const level of LEVELS)
      for (let index = 0; index < SCENES_PER_LEVEL; index++) {
        const place = { seed: 0, stream: 'tokenizer', part: 'demonstrations', task, index } as const;
        const scene = sampleScene(place, { [level]: 1 });
        texts.push([scene.question, ...scene.options].join('\n'));
        if (task !== 'ocr') texts.push(respond(scene.thought, scene.answer));
      }
  return texts;
}
