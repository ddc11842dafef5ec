import { demonstrate } from './demonstrations.ts';
import { FAMILIES } from './families/index.ts';
import { nameCells, namingQuestions } from './labels.ts';
import type { ResolvedDemonstrations } from './options.ts';
import type { Random } from './random.ts';
import { sceneHash, type Level, type Scene, type Task } from './scene.ts';

/** A row of a gallery file: the fields of the OneThinker format, and what the gallery adds to them. */
export interface GalleryRow {
  problem_id: number;
  problem: string;
  problem_reserved_text: string;
  data_type: 'image';
  problem_type: string;
  task_type: string;
  options: string[];
  data_source: `gallery/${Task}`;
  /** missing in naming rows, which no reward can score */
  answer?: string;
  images: string[];
  level: Level;
  /** stands for the content of the picture */
  scene: string;
  /** the response to learn */
  demonstration?: string;
  /** the word to say at each visual token, row by row; null where nothing is asked */
  labels?: (string | null)[];
}

/** The row that asks the question of a scene. */
export function questionRow(scene: Scene, id: number, image: string, imageLast: boolean): GalleryRow {
  const { taskType, problemType } = FAMILIES[scene.task];
  return {
    problem_id: id,
    problem: imageLast ? `${scene.question} <image>` : `<image>${scene.question}`,
    problem_reserved_text: scene.question,
    data_type: 'image',
    problem_type: problemType,
    task_type: taskType,
    options: scene.options,
    data_source: `gallery/${scene.task}`,
    answer: `<answer>${scene.answer}</answer>`,
    images: [image],
    level: scene.level,
    scene: sceneHash(scene),
  };
}

/** The rows that demonstrate a scene: first names for its cells, the question before the picture, then an answer. */
export function demonstrationRows(
  scene: Scene,
  firstId: number,
  image: string,
  plan: ResolvedDemonstrations & { cellsPerSide: number; imageLast: boolean },
  random: Random,
): GalleryRow[] {
  const row = questionRow(scene, firstId, image, plan.imageLast);
  const unanswered = { ...row };
  delete unanswered.answer;
  const rows: GalleryRow[] = random.sample(namingQuestions(scene.task), plan.naming).map((question) => ({
    ...unanswered,
    problem: `${question} <image>`,
    problem_reserved_text: question,
    options: [],
    labels: nameCells(scene, question, plan.cellsPerSide),
  }));
  if (random.chance(plan.answered)) rows.push({ ...row, demonstration: demonstrate(scene, plan, random) });
  return rows.map((each, i) => ({ ...each, problem_id: firstId + i }));
}
