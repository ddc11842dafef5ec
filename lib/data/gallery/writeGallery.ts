import { createHash, type Hash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { G2rpoError } from '../../runtime/errors.ts';
import { planGallery, type FilePlan, type GalleryOptions, type GalleryPlan } from './options.ts';
import { Random } from './random.ts';
import { renderPngs, scenesPerSheet } from './render.ts';
import { demonstrationRows, questionRow, type GalleryRow } from './rows.ts';
import { sampleScene } from './sample.ts';
import type { Scene } from './scene.ts';

/** Changes when the same options give another gallery. */
const EDITION = 1;
const PICTURES_PER_FOLDER = 1000;

/** What gallery.json says of a finished gallery. */
export interface GalleryReport {
  edition: number;
  plan: GalleryPlan;
  /** by file name */
  files: Record<string, { rows: number; sha256: string }>;
  images: number;
  /** over all rows and all PNG files, in the order of writing */
  contentHash: string;
}

/**
 * Makes a folder of visual tasks: `train.jsonl`, `validation.jsonl`, the files of demonstrations that were asked for,
 * their PNG pictures under `images/`, and `gallery.json`. The bytes depend on the options alone, and a smaller gallery
 * is the beginning of a larger one. The parts share no picture.
 *
 * The folder appears at its place only when it is complete. If the same gallery is there already, nothing is done.
 *
 * @throws INVALID_CONFIG    an option outside its domain
 * @throws INVALID_ARGUMENT  `out` holds something else
 * @throws INVALID_DATA      `out` holds this gallery, but damaged
 * @throws ABORTED           by the signal; nothing is left behind
 * @throws IO                the file system refused
 */
export async function writeGallery(options: GalleryOptions): Promise<GalleryReport> {
  const plan = planGallery(options);
  const out = resolve(options.out);
  try {
    const present = await presentGallery(out, plan);
    if (present) return present;
    const draft = `${out}.partial-${process.pid}`;
    await rm(draft, { recursive: true, force: true });
    try {
      const report = await fillFolder(draft, plan, options);
      await rename(draft, out); // replaces an empty folder
      return report;
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
  } catch (error) {
    if (error instanceof G2rpoError || !isSystemError(error)) throw error;
    throw new G2rpoError('IO', `gallery: cannot write ${out}: ${error.message}`, { out }, { cause: error });
  }
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error;
}

/** The report of the gallery at `out` if it is the planned one; undefined if there is nothing. */
async function presentGallery(out: string, plan: GalleryPlan): Promise<GalleryReport | undefined> {
  const entries = await readdir(out).catch((error: NodeJS.ErrnoException): string[] => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  if (entries.length === 0) return undefined;
  const refuse = (why: string): never => {
    throw new G2rpoError('INVALID_ARGUMENT', `gallery: out must be new or empty; ${out} ${why}`, { out });
  };
  if (!entries.includes('gallery.json')) return refuse('holds other files');
  const report = readReport(await readFile(join(out, 'gallery.json'), 'utf8'));
  if (!report) return refuse('holds a gallery.json that is no report of a gallery');
  if (report.edition !== EDITION || JSON.stringify(report.plan) !== JSON.stringify(plan))
    return refuse('holds a gallery of other options');
  for (const [name, { sha256 }] of Object.entries(report.files)) {
    const text = entries.includes(name) ? await readFile(join(out, name)) : '';
    if (createHash('sha256').update(text).digest('hex') !== sha256)
      throw new G2rpoError('INVALID_DATA', `gallery: ${join(out, name)} is missing or was changed`, {
        out,
        file: name,
      });
  }
  const pictures = entries.includes('images') ? await readdir(join(out, 'images'), { recursive: true }) : [];
  const count = pictures.filter((path) => path.endsWith('.png')).length;
  if (count !== report.images) {
    const message = `gallery: ${join(out, 'images')} must hold ${report.images} pictures; got ${count}`;
    throw new G2rpoError('INVALID_DATA', message, { out, wanted: report.images, got: count });
  }
  return report;
}

function readReport(text: string): GalleryReport | undefined {
  try {
    const report = JSON.parse(text) as Partial<GalleryReport> | null;
    return report?.edition && report.plan && report.files ? (report as GalleryReport) : undefined;
  } catch {
    return undefined;
  }
}

async function fillFolder(folder: string, plan: GalleryPlan, options: GalleryOptions): Promise<GalleryReport> {
  const total = plan.files.reduce((sum, { scenes }) => sum + scenes, 0);
  const content = createHash('sha256');
  const files: GalleryReport['files'] = {};
  let before = 0;
  await mkdir(folder, { recursive: true });
  for (const file of plan.files) {
    files[`${file.name}.jsonl`] = await writeRows(folder, plan, file, content, (done) => {
      if (options.signal?.aborted)
        throw new G2rpoError('ABORTED', 'gallery: stopped by the caller', { done: before + done, total });
      options.onProgress?.({ file: `${file.name}.jsonl`, done: before + done, total });
    });
    before += file.scenes;
  }
  const report = { edition: EDITION, plan, files, images: total, contentHash: content.digest('hex') };
  await writeFile(join(folder, 'gallery.json'), `${JSON.stringify(report, null, 2)}\n`);
  return report;
}

/** Writes one jsonl file and its pictures, a sheet at a time. */
async function writeRows(
  folder: string,
  plan: GalleryPlan,
  file: FilePlan,
  content: Hash,
  onSheet: (done: number) => void,
): Promise<{ rows: number; sha256: string }> {
  const hash = createHash('sha256');
  const perSheet = scenesPerSheet(plan.imageSize);
  let rows = 0;
  await using lines = await open(join(folder, `${file.name}.jsonl`), 'w');
  for (let start = 0; start < file.scenes; start += perSheet) {
    onSheet(start);
    const indices = Array.from({ length: Math.min(perSheet, file.scenes - start) }, (_, i) => start + i);
    const scenes = indices.map((index) => sceneAt(plan, file, index));
    const pictures = await renderPngs(scenes, plan.imageSize);
    const images = indices.map((index) => imagePath(file.name, index));
    for (const each of new Set(images.map(dirname))) await mkdir(join(folder, each), { recursive: true });
    await Promise.all(images.map((image, i) => writeFile(join(folder, image), pictures[i]!)));
    let text = '';
    for (const [i, scene] of scenes.entries())
      for (const row of rowsAt(plan, file, scene, indices[i]!, rows, images[i]!)) {
        text += `${JSON.stringify(row)}\n`;
        rows++;
      }
    await lines.write(text);
    hash.update(text);
    content.update(text);
    for (const picture of pictures) content.update(picture);
  }
  onSheet(file.scenes);
  return { rows, sha256: hash.digest('hex') };
}

/** The scene number `index` of a file: tasks take turns. */
export function sceneAt({ seed, tasks }: GalleryPlan, { name, part, levels }: FilePlan, index: number): Scene {
  const task = tasks[index % tasks.length]!;
  return sampleScene({ seed, stream: name, part, task, index: Math.floor(index / tasks.length) }, levels);
}

/** The rows that belong to a scene of a file, numbered from `firstId`. */
export function rowsAt(
  plan: GalleryPlan,
  file: FilePlan,
  scene: Scene,
  index: number,
  firstId: number,
  image: string,
): GalleryRow[] {
  if (!file.demonstrations) return [questionRow(scene, firstId, image, plan.imageLast)];
  const random = new Random('rows', plan.seed, file.name, index);
  const cells = { cellsPerSide: plan.imageSize / plan.cellSize, imageLast: plan.imageLast };
  return demonstrationRows(scene, firstId, image, { ...file.demonstrations, ...cells }, random);
}

function imagePath(name: string, index: number): string {
  const folder = String(Math.floor(index / PICTURES_PER_FOLDER)).padStart(3, '0');
  return `images/${name}/${folder}/${String(index).padStart(6, '0')}.png`;
}
