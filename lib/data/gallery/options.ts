import { G2rpoError, nearestName } from '../../runtime/errors.ts';
import type { DemonstrationPlan } from './demonstrations.ts';
import { DEFAULT_LEVELS, type LevelMix, type Part } from './sample.ts';
import { LEVELS, TASKS, type Task } from './scene.ts';

/** How many rows, and how hard. */
export interface SplitPlan {
  rows: number;
  levels?: LevelMix;
}

export interface GalleryProgress {
  /** the file that is being written */
  file: string;
  /** pictures drawn, of how many in all files */
  done: number;
  total: number;
}

export interface GalleryOptions {
  /** the folder to make */
  out: string;
  /** default 0 */
  seed?: number;
  /** rows of train.jsonl, all tasks together, in turn; default 2400 */
  train?: number | SplitPlan;
  /** rows of validation.jsonl; default 1200 */
  validation?: number | SplitPlan;
  /** files of demonstrations by name: `{ demonstrations: { scenes: 30000 } }` writes demonstrations.jsonl; default none */
  demonstrations?: Record<string, DemonstrationPlan>;
  /** default all six */
  tasks?: readonly Task[];
  /** side of the pictures in pixels; default 64 */
  imageSize?: number;
  /** side in pixels of what one visual token sees, for labels; default 16 */
  cellSize?: number;
  /** the picture after the question, as in naming rows, in place of before it; default false */
  imageLast?: boolean;
  onProgress?: (progress: GalleryProgress) => void;
  signal?: AbortSignal;
}

export type ResolvedDemonstrations = Required<Omit<DemonstrationPlan, 'scenes' | 'levels'>>;

/** One file of a gallery, with nothing left open. */
export interface FilePlan {
  name: string;
  part: Part;
  scenes: number;
  levels: LevelMix;
  demonstrations?: ResolvedDemonstrations;
}

/** Everything that decides the bytes of a gallery. */
export interface GalleryPlan {
  seed: number;
  tasks: Task[];
  imageSize: number;
  cellSize: number;
  imageLast: boolean;
  files: FilePlan[];
}

const KEYS = 'out seed train validation demonstrations tasks imageSize cellSize imageLast onProgress signal'.split(' ');
const PLAN_DEFAULTS: ResolvedDemonstrations = { naming: 2, answered: 1, careful: 0.5, habits: 0, faults: 0 };
const SHARES = ['answered', 'careful', 'habits', 'faults'] as const;

/**
 * The options with their defaults, as the list of files to write.
 *
 * @throws INVALID_CONFIG  with every problem at once
 */
export function planGallery(options: GalleryOptions): GalleryPlan {
  const check = new Checks();
  const { seed = 0, tasks = TASKS, imageSize = 64, cellSize = 16, imageLast = false, demonstrations = {} } = options;
  check.keys('', options, KEYS);
  check.want('out', typeof options.out === 'string' && options.out !== '', 'a folder', options.out);
  check.want('seed', Number.isSafeInteger(seed), 'a whole number', seed);
  const known = Array.isArray(tasks) && tasks.every((task) => TASKS.includes(task));
  const fineTasks = known && tasks.length > 0 && new Set(tasks).size === tasks.length;
  check.want('tasks', fineTasks, `some of ${TASKS.join(', ')}, none twice`, tasks);
  check.want('cellSize', Number.isInteger(cellSize) && cellSize > 0, 'a whole number > 0', cellSize);
  const fineSize = Number.isInteger(imageSize) && imageSize >= 16 && imageSize <= 2048 && imageSize % cellSize === 0;
  check.want('imageSize', fineSize, `a multiple of cellSize (${cellSize}) from 16 to 2048`, imageSize);
  check.want('imageLast', typeof imageLast === 'boolean', 'true or false', imageLast);
  const files = [
    planSplit(check, 'train', options.train ?? 2400),
    planSplit(check, 'validation', options.validation ?? 1200),
    ...Object.entries(demonstrations).map(([name, plan]) => planDemonstrations(check, name, plan)),
  ];
  check.throwIfAny();
  return { seed, tasks: [...tasks], imageSize, cellSize, imageLast, files };
}

function planSplit(check: Checks, part: 'train' | 'validation', given: number | SplitPlan): FilePlan {
  const plan = typeof given === 'number' ? { rows: given } : given;
  check.keys(`${part}.`, plan, ['rows', 'levels']);
  check.count(`${part}.rows`, plan.rows);
  const levels = plan.levels ?? DEFAULT_LEVELS;
  check.levels(`${part}.levels`, levels);
  return { name: part, part, scenes: plan.rows, levels };
}

function planDemonstrations(check: Checks, name: string, plan: DemonstrationPlan): FilePlan {
  const { scenes, levels = DEFAULT_LEVELS, ...rest } = plan;
  const demonstrations = { ...PLAN_DEFAULTS, ...rest };
  const at = `demonstrations.${name}`;
  const fineName = /^[a-z][a-z0-9-]*$/i.test(name) && !['train', 'validation', 'gallery', 'images'].includes(name);
  check.want(at, fineName, 'a name of letters, digits and dashes, and not one of the gallery itself', name);
  check.keys(`${at}.`, rest, Object.keys(PLAN_DEFAULTS));
  check.count(`${at}.scenes`, scenes);
  check.count(`${at}.naming`, demonstrations.naming);
  check.levels(`${at}.levels`, levels);
  for (const key of SHARES) {
    const share = demonstrations[key];
    check.want(`${at}.${key}`, share >= 0 && share <= 1, 'in [0, 1]', share);
  }
  return { name, part: 'demonstrations', scenes, levels, demonstrations };
}

/** Gathers what is wrong with the options, to say it all at once. */
class Checks {
  readonly problems: string[] = [];

  want(name: string, holds: boolean, wanted: string, got: unknown): void {
    if (!holds) this.problems.push(`gallery.${name} must be ${wanted}; got ${JSON.stringify(got)}`);
  }

  count(name: string, value: unknown): void {
    this.want(name, Number.isSafeInteger(value) && (value as number) >= 0, 'a whole number ≥ 0', value);
  }

  levels(name: string, levels: LevelMix): void {
    this.keys(`${name}.`, levels, LEVELS.map(String));
    const shares = Object.values(levels);
    const fine = shares.every((share) => Number.isFinite(share) && share >= 0) && shares.some((share) => share > 0);
    this.want(name, fine, 'shares ≥ 0, not all 0', levels);
  }

  keys(at: string, given: object, known: readonly string[]): void {
    for (const key of Object.keys(given).filter((each) => !known.includes(each))) {
      const near = nearestName(key, known);
      this.problems.push(`gallery.${at}${key} is not an option${near ? `; did you mean ${near}?` : ''}`);
    }
  }

  throwIfAny(): void {
    const { problems } = this;
    if (problems.length > 0) throw new G2rpoError('INVALID_CONFIG', problems.join('\n'), { problems });
  }
}
