import { describe, G2rpoError, refuse, wantList, wantObject } from '../../runtime/errors.ts';
import type { NativeBatch } from '../../runtime/native.ts';
import { ownMemory, type TypedArray } from '../../runtime/tensor.ts';
import type { EncodedPrompt, PromptEncoder } from './encodePrompt.ts';
import type { ProcessedImage } from './imageProcessor.ts';
import type { ImageSettings } from './imageSettings.ts';
import type { GridThw } from './positions.ts';
import type { ProcessedVideo } from './videoProcessor.ts';

/** Patches that are ready for the vision tower: fp32, [patches, 3 · temporalPatch · patch²] in merge order. */
export interface PatchRows {
  rows: Float32Array;
  gridThw: GridThw;
}

/** A picture, a video, or the rows of one. */
export type Shown = ProcessedImage | ProcessedVideo | PatchRows;

/**
 * Sequences packed row after row, not padded. A prompt is a segment; its responses are segments that see all of it, so that it is
 * computed once for all of them.
 */
export interface PolicyBatch {
  /** [S] token ids; what stands at visual rows is not looked at */
  inputIds: Int32Array;
  /** [3 · S]: rows T, H, W */
  positionIds: Int32Array;
  /** [Z+1] offsets from 0 to S */
  segmentStarts: Int32Array;
  /** [Z] the segment that segment z sees in full before its own rows, or −1 */
  segmentPrefix: Int32Array;
  /** pictures and videos, each once however many rows show it */
  images: readonly Shown[];
  /** [K] rows that show a visual token */
  visualRows: Int32Array;
  /** [K] which one: its row among the visual tokens of all images */
  visualSource: Int32Array;
  /** [N] row whose hidden state predicts target i; a prompt's last row predicts the first token of all its responses */
  targetRows: Int32Array;
  /** [N] the token predicted */
  targetIds: Int32Array;
}

const LISTS = [
  ...(['inputIds', 'positionIds', 'segmentStarts', 'segmentPrefix', 'visualRows', 'visualSource'] as const),
  ...(['targetRows', 'targetIds'] as const),
];

const LONGEST_SIDE = 2 ** 16;

/** @throws INVALID_ARGUMENT  no pictures and videos with a grid that a vision tower can have */
export function wantShown(who: string, images: unknown, merge: number): asserts images is readonly Shown[] {
  wantList(who, 'images', images);
  Array.from(images).forEach((image, i) => {
    wantObject(who, `images[${i}]`, image);
    const grid: unknown = (image as Partial<Shown>).gridThw;
    wantList(who, `images[${i}].gridThw`, grid);
    const [t, h, w] = Array.from(grid) as [number, number, number];
    const side = (n: number) => Number.isSafeInteger(n) && n >= merge && n <= LONGEST_SIDE && n % merge === 0;
    if (grid.length !== 3 || !(Number.isSafeInteger(t) && t >= 1 && t <= LONGEST_SIDE && side(h) && side(w)))
      refuse(
        who,
        `images[${i}].gridThw`,
        `must be [t, h, w], h and w multiples of ${merge}`,
        `[${Array.from(grid).join(', ')}]`,
      );
  });
}

/** @throws INVALID_CHECKPOINT  as `encode` of a video does */
function wantReader(videoProcessor: PromptEncoder['videoProcessor']): NonNullable<typeof videoProcessor> {
  if (!videoProcessor)
    throw new G2rpoError('INVALID_CHECKPOINT', 'policy: images show a video, and the checkpoint has no video_preprocessor_config.json'); // prettier-ignore
  return videoProcessor;
}

/** What the native side takes: lists and pixels as they are, which it copies. @throws INVALID_ARGUMENT  a list is none, or has lost its memory */
export function toNative(
  batch: PolicyBatch,
  { imageProcessor, videoProcessor }: Pick<PromptEncoder, 'imageProcessor' | 'videoProcessor'>,
): NativeBatch {
  wantObject('policy', 'batch', batch);
  const { images } = batch;
  const { settings } = imageProcessor;
  wantShown('policy', images, settings.merge);
  images.forEach((shown, i) => wantRows(shown, i, settings));
  for (const key of LISTS) wantList('policy', key, batch[key]);
  const own = (list: unknown) => (ArrayBuffer.isView(list) ? ownMemory(list as TypedArray) : list) as never;
  const owned = Object.fromEntries(LISTS.map((key) => [key, own(batch[key])]));
  return {
    ...(owned as unknown as Omit<PolicyBatch, 'images'>),
    shown: images.map((each) => {
      if ('rows' in each) return { rows: own(each.rows) };
      const { values } = 'frames' in each ? wantReader(videoProcessor) : imageProcessor;
      return { pixels: own(each.pixels), values };
    }),
    grids: Int32Array.from(images.flatMap(({ gridThw }) => [...gridThw])),
  };
}

/**
 * @throws INVALID_ARGUMENT  rows or pixels are not those of the grid: what is made of them would be as large as the grid says, and whoever is
 *   computed beside them would find out
 */
function wantRows(shown: Shown, i: number, { patch, temporalPatch }: ImageSettings): void {
  const [t, h, w] = shown.gridThw;
  const rows = 'rows' in shown;
  const frames = 'frames' in shown ? shown.frames : 1;
  if (!Number.isSafeInteger(frames) || frames < 1)
    refuse('policy', `images[${i}].frames`, 'must be a whole number from 1', describe(frames));
  const times = Math.ceil(frames / temporalPatch);
  if (!rows && t !== times)
    refuse('policy', `images[${i}].gridThw`, `must begin with ${times}, of ${frames} frames`, `[${t}, ${h}, ${w}]`);
  const [given, wanted, type] = rows
    ? [shown.rows, t * h * w * 3 * temporalPatch * patch ** 2, 'Float32Array']
    : [shown.pixels, frames * h * w * 3 * patch ** 2, 'Uint8Array'];
  const name = `images[${i}].${rows ? 'rows' : 'pixels'}`;
  wantList('policy', name, given);
  if (given[Symbol.toStringTag] !== type) refuse('policy', name, `must be a ${type}`, describe(given));
  if (given.length !== wanted)
    refuse('policy', name, `must be the ${wanted} of its grid [${t}, ${h}, ${w}]`, `${given.length}`);
}

/**
 * Prompts one after the other, a segment each, without targets. A picture or video that several prompts show is packed once.
 *
 * @throws INVALID_ARGUMENT  a prompt lacks a list, or has other visual rows than its pictures and videos
 */
export function packPrompts(prompts: readonly EncodedPrompt[], merge: number): PolicyBatch {
  prompts.forEach((prompt) => wantPrompt(prompt, merge));
  const rows = prompts.reduce((n, p) => n + p.inputIds.length, 0);
  const visual = prompts.reduce((n, p) => n + p.visualRows.length, 0);
  const inputIds = new Int32Array(rows);
  const positionIds = new Int32Array(3 * rows);
  const segmentStarts = new Int32Array(prompts.length + 1);
  const visualRows = new Int32Array(visual);
  const visualSource = new Int32Array(visual);
  const images: Shown[] = [];
  const firstToken = new Map<Shown, number>();
  let [row, k, tokens] = [0, 0, 0];
  prompts.forEach((prompt, p) => {
    const length = prompt.inputIds.length;
    inputIds.set(prompt.inputIds, row);
    for (let axis = 0; axis < 3; axis++)
      positionIds.set(prompt.positionIds.subarray(axis * length, (axis + 1) * length), axis * rows + row);
    let seen = k;
    for (const image of prompt.images) {
      if (!firstToken.has(image)) {
        firstToken.set(image, tokens);
        images.push(image);
        tokens += visualTokensOf(image.gridThw, merge);
      }
      const first = firstToken.get(image)!;
      for (let j = 0; j < visualTokensOf(image.gridThw, merge); j++) visualSource[seen++] = first + j;
    }
    for (const r of prompt.visualRows) visualRows[k++] = row + r;
    row += length;
    segmentStarts[p + 1] = row;
  });
  return {
    inputIds,
    positionIds,
    segmentStarts,
    segmentPrefix: new Int32Array(prompts.length).fill(-1),
    images,
    visualRows,
    visualSource,
    targetRows: new Int32Array(),
    targetIds: new Int32Array(),
  };
}

/** @throws INVALID_ARGUMENT  no prompt as `Policy.encode` makes them, or somebody else */
export function wantPrompt(prompt: EncodedPrompt, merge: number): void {
  wantObject('prompt', 'prompt', prompt);
  const { inputIds, positionIds, visualRows, images } = prompt;
  for (const [name, list] of Object.entries({ inputIds, positionIds, visualRows })) {
    wantList('prompt', name, list);
    wantWhole(name, list);
  }
  wantShown('prompt', images, merge);
  const tokens = images.reduce((n, { gridThw }) => n + visualTokensOf(gridThw, merge), 0);
  if (visualRows.length !== tokens)
    refuse(
      'prompt',
      'visualRows',
      `must be one for each of the ${tokens} visual tokens of images`,
      `${visualRows.length}`,
    );
}

/** Elements of other lists than those of 32-bit numbers, which would become such numbers in silence. */
function wantWhole(name: string, list: ArrayLike<unknown>): void {
  if (list instanceof Int32Array) return;
  for (let i = 0; i < list.length; i++)
    if (!Number.isInteger(list[i]) || list[i] !== (list[i] as number) >> 0)
      refuse('prompt', `${name}[${i}]`, 'must be a whole number of 32 bits', describe(list[i]));
}

export const visualTokensOf = ([t, h, w]: GridThw, merge: number): number => (t * h * w) / merge ** 2;
