import type { Task } from '../scene.ts';
import { chart } from './chart.ts';
import type { Family } from './family.ts';
import { grounding } from './grounding.ts';
import { math } from './math.ts';
import { ocr } from './ocr.ts';
import { spatial } from './spatial.ts';
import { vqa } from './vqa.ts';

/** Every family by its task. */
export const FAMILIES: Readonly<Record<Task, Family>> = { vqa, math, chart, ocr, spatial, grounding };
