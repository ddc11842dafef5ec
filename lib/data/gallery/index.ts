export { demonstrate, respond, type DemonstrationPlan } from './demonstrations.ts';
export { labelWords, nameCells, namingQuestions, type NamingQuestion } from './labels.ts';
export {
  planGallery,
  type FilePlan,
  type GalleryOptions,
  type GalleryPlan,
  type GalleryProgress,
  type SplitPlan,
} from './options.ts';
export { renderPngs, renderScenes } from './render.ts';
export type { GalleryRow } from './rows.ts';
export { sampleScene, type LevelMix } from './sample.ts';
export { LEVELS, sceneHash, TASKS, type Level, type Scene, type Task } from './scene.ts';
export { rowsAt, sceneAt, writeGallery, type GalleryReport } from './writeGallery.ts';
export { buildTokenizer, type BuiltTokenizer, type TokenizerOptions } from './tokenizer.ts';
export { writeSmallPolicy, type SmallPolicyOptions, type SmallPolicySizes } from './smallPolicy.ts';
export { singleTokenWords, tokenizerCorpus } from './words.ts';
