import { setImmediate } from 'node:timers/promises';
import type { ProcessedVideo } from './videoProcessor.ts';
import type { VideoSettings } from './videoSettings.ts';

/**
 * Writes the rows that the vision tower reads of a video into `rows`, [patches, 3 · temporalPatch · patch²]: temporal patches one after the other, in each the
 * merge · merge patches of a visual token in a row, content (channel, time, y, x). The last frame is repeated where frames run out.
 *
 *   v = (x − 255 · mean) / (255 · std) in fp32, as torchvision has it: a picture's rows differ from it in the last bit
 */
export async function writeVideoRows(
  video: ProcessedVideo,
  settings: VideoSettings,
  rows: Float32Array,
): Promise<void> {
  const tables = settings.mean.map((mean, c) => normalised(mean, settings.std[c]!));
  const size = rows.length / video.gridThw[0];
  for (let p = 0; p < video.gridThw[0]; p++) {
    writePatches(video, p, settings, tables, rows.subarray(p * size, (p + 1) * size));
    await setImmediate(); // others take their turn
  }
}

function normalised(mean: number, std: number): Float32Array {
  const [shift, scale] = [Math.fround(255 * mean), Math.fround(255 * std)];
  return Float32Array.from({ length: 256 }, (_, x) => Math.fround(x - shift) / scale);
}

/** The rows of one temporal patch. */
function writePatches(
  { pixels, height, width, frames }: ProcessedVideo,
  p: number,
  { patch, merge, temporalPatch }: VideoSettings,
  tables: readonly Float32Array[],
  rows: Float32Array,
): void {
  const side = patch * merge;
  const starts = Array.from({ length: temporalPatch }, (_, t) => Math.min(p * temporalPatch + t, frames - 1) * height);
  let to = 0;
  for (let top = 0; top < height; top += side)
    for (let left = 0; left < width; left += side)
      for (let y0 = top; y0 < top + side; y0 += patch)
        for (let x0 = left; x0 < left + side; x0 += patch)
          for (let c = 0; c < 3; c++)
            for (const start of starts)
              for (let y = y0; y < y0 + patch; y++) {
                let from = 3 * ((start + y) * width + x0) + c;
                for (let x = 0; x < patch; x++, from += 3) rows[to++] = tables[c]![pixels[from]!]!;
              }
}
