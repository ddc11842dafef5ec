import type { EncodedPrompt, ModelConfig, PatchRows, PolicyBatch } from '../../../lib/index.ts';
import { syntheticStream } from './weights.ts';

export type Grid = [number, number, number];
/** What the layout of a sequence depends on. */
export type Layout = Pick<ModelConfig, 'ids' | 'vision'>;
export interface GoldenFeatures {
  shape: [number, number];
  first4_of_first_row: number[];
  last4_of_last_row: number[];
  row_l2: number[];
}
export interface GoldenLogits {
  row: number;
  first8: number[];
  argmax: number;
  top2_gap: number;
  lse: number;
  entropy: number;
  l2: number;
}

export interface GoldenPixels {
  input: 'pixel_values' | 'pixel_values_videos';
  name: string;
  shape: [number, number];
  a: number;
  off: number;
  dtype: string;
}

/** A sequence of a golden model case; its README describes the fields. */
export interface GoldenSequence {
  name: string;
  length: number;
  input_ids: number[];
  image_grid_thw: Grid[];
  video_grid_thw: Grid[];
  pixels: GoldenPixels[];
  position_ids: [number[], number[], number[]];
  rope_delta: number;
  vision?: Partial<Record<'image' | 'video', { merged: GoldenFeatures; deepstack: GoldenFeatures[] }>>;
  logit_rows: GoldenLogits[];
  completion_start?: number;
  targets?: { rows: number[]; ids: number[]; [values: string]: number[] };
}

/** The pictures of a sequence as patch rows: images first, then videos, each input cut up by its grids. */
function patchRowsOf(s: Pick<GoldenSequence, 'pixels' | 'image_grid_thw' | 'video_grid_thw'>): PatchRows[] {
  const cut = (input: GoldenPixels['input'], grids: Grid[]) => {
    const parts = s.pixels.filter((p) => p.input === input);
    const all = parts.flatMap((p) => Array.from(syntheticStream(p.name, p.shape, p.a, p.off)));
    const width = parts[0]?.shape[1] ?? 0;
    let at = 0;
    return grids.map(([t, h, w]): PatchRows => {
      const size = t * h * w * width;
      return { rows: Float32Array.from(all.slice(at, (at += size))), gridThw: [t, h, w] };
    });
  };
  return [...cut('pixel_values', s.image_grid_thw), ...cut('pixel_values_videos', s.video_grid_thw)];
}

/** Rows that show visual tokens, and which: images and videos are numbered apart, videos after all images. */
export function visualTokens(s: Pick<GoldenSequence, 'input_ids' | 'image_grid_thw'>, { ids, vision }: Layout) {
  const images = s.image_grid_thw.reduce((n, [t, h, w]) => n + (t * h * w) / vision.merge ** 2, 0);
  const rows: number[] = [];
  const source: number[] = [];
  let [image, video] = [0, images];
  s.input_ids.forEach((id, row) => {
    if (id !== ids.image && id !== ids.video) return;
    rows.push(row);
    source.push(id === ids.image ? image++ : video++);
  });
  return { rows, source };
}

/** What of a sequence is packed. */
export type PackedSequence = Pick<
  GoldenSequence,
  'input_ids' | 'image_grid_thw' | 'video_grid_thw' | 'pixels' | 'position_ids' | 'targets'
>;

/** Golden sequences one after the other, each a segment of its own, with all their targets. */
export function packSequences(sequences: readonly PackedSequence[], layout: Layout): PolicyBatch {
  const rows = sequences.reduce((n, s) => n + s.input_ids.length, 0);
  const positionIds = new Int32Array(3 * rows);
  const starts = [0];
  const images: PatchRows[] = [];
  const [visualRows, visualSource, targetRows, targetIds]: number[][] = [[], [], [], []];
  let features = 0;
  for (const s of sequences) {
    const at = starts.at(-1)!;
    s.position_ids.forEach((axis, a) => positionIds.set(axis, a * rows + at));
    const visual = visualTokens(s, layout);
    visualRows!.push(...visual.rows.map((r) => r + at));
    visualSource!.push(...visual.source.map((f) => f + features));
    features += visual.rows.length;
    images.push(...patchRowsOf(s));
    targetRows!.push(...(s.targets?.rows ?? []).map((r) => r + at));
    targetIds!.push(...(s.targets?.ids ?? []));
    starts.push(at + s.input_ids.length);
  }
  return {
    inputIds: Int32Array.from(sequences.flatMap((s) => s.input_ids)),
    positionIds,
    segmentStarts: Int32Array.from(starts),
    segmentPrefix: new Int32Array(sequences.length).fill(-1),
    images,
    visualRows: Int32Array.from(visualRows!),
    visualSource: Int32Array.from(visualSource!),
    targetRows: Int32Array.from(targetRows!),
    targetIds: Int32Array.from(targetIds!),
  };
}

export type GoldenPrompt = Omit<PackedSequence, 'targets'> & { rope_delta: number };

/** A golden prompt as `generate` takes it; its pictures are patch rows. */
export const encodedPrompt = (s: GoldenPrompt, layout: Layout): EncodedPrompt => ({
  inputIds: Int32Array.from(s.input_ids),
  positionIds: Int32Array.from(s.position_ids.flat()),
  ropeDelta: s.rope_delta,
  images: patchRowsOf(s) as never,
  visualRows: Int32Array.from(visualTokens(s, layout).rows),
});

/** Prompt and response as one sequence whose targets are the response's tokens. */
export function followedBy(s: GoldenPrompt, response: number[]): PackedSequence {
  const length = s.input_ids.length;
  const later = response.slice(0, -1).map((_, t) => length + s.rope_delta + t);
  return {
    ...s,
    input_ids: [...s.input_ids, ...response.slice(0, -1)],
    position_ids: s.position_ids.map((axis) => [...axis, ...later]) as GoldenSequence['position_ids'],
    targets: { rows: response.map((_, t) => length - 1 + t), ids: response },
  };
}
