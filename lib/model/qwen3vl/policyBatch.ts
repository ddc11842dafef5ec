import type { NativeBatch } from '../../runtime/native.ts';
import type { EncodedPrompt } from './encodePrompt.ts';
import type { ImageProcessor, ProcessedImage } from './imageProcessor.ts';
import type { GridThw } from './positions.ts';

/** Patches that are ready for the vision tower: fp32, [patches, 3 · temporalPatch · patch²] in merge order. */
export interface PatchRows {
  rows: Float32Array;
  gridThw: GridThw;
}

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
  /** pictures, each once however many rows show it */
  images: readonly (ProcessedImage | PatchRows)[];
  /** [K] rows that show a visual token */
  visualRows: Int32Array;
  /** [K] which one: its row among the visual tokens of all images */
  visualSource: Int32Array;
  /** [N] row whose hidden state predicts target i; a prompt's last row predicts the first token of all its responses */
  targetRows: Int32Array;
  /** [N] the token predicted */
  targetIds: Int32Array;
}

const NO_ROWS = new Float32Array();

/** Makes pixel rows of the pictures: what the native side takes. */
export async function toNative(
  batch: PolicyBatch,
  processor: ImageProcessor,
  variant: 'f32' | 'f64',
): Promise<NativeBatch> {
  const { images, ...rest } = batch;
  const pictures = images.filter((image): image is ProcessedImage => !('rows' in image));
  // pictures alone become rows at once, into memory that is held but once
  const pixels =
    pictures.length === images.length
      ? await processor.rows(pictures)
      : join(await Promise.all(images.map((image) => ('rows' in image ? image.rows : processor.rows([image])))));
  return {
    ...rest,
    pixels: variant === 'f64' ? Float64Array.from(pixels) : pixels,
    grids: Int32Array.from(images.flatMap(({ gridThw }) => [...gridThw])),
  };
}

function join(parts: readonly Float32Array[]): Float32Array {
  if (parts.length === 0) return NO_ROWS;
  const all = new Float32Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Prompts one after the other, a segment each, without targets. A picture that several prompts show is packed once. */
export function packPrompts(prompts: readonly EncodedPrompt[], merge: number): PolicyBatch {
  const rows = prompts.reduce((n, p) => n + p.inputIds.length, 0);
  const visual = prompts.reduce((n, p) => n + p.visualRows.length, 0);
  const inputIds = new Int32Array(rows);
  const positionIds = new Int32Array(3 * rows);
  const segmentStarts = new Int32Array(prompts.length + 1);
  const visualRows = new Int32Array(visual);
  const visualSource = new Int32Array(visual);
  const images: (ProcessedImage | PatchRows)[] = [];
  const firstToken = new Map<ProcessedImage | PatchRows, number>();
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

export const visualTokensOf = ([t, h, w]: GridThw, merge: number): number => (t * h * w) / merge ** 2;
