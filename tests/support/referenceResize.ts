/** The arithmetic of pictures, slow and obvious: it judges the native one. */
import { picture, type Picture } from '../../scripts/golden/model/pictures.ts';

const { floor, max } = Math;

/**
 * Bicubic, antialiased, with an 8-bit picture in between; weights have 22 fractional bits. Along rows first, except where a
 * picture more than 100 times as high as wide becomes lower.
 */
export function referenceResize(from: Picture, height: number, width: number): Picture {
  if (from.height > 100 * from.width && height < from.height) return resizeRows(resizeColumns(from, height), width);
  return resizeColumns(resizeRows(from, width), height);
}

function resizeRows(from: Picture, width: number): Picture {
  if (width === from.width) return from;
  return picture(from.height, width, (y, x, c) =>
    weighted(x, from.width, width, (source) => from.pixels[(y * from.width + source) * 3 + c]!),
  );
}

function resizeColumns(from: Picture, height: number): Picture {
  if (height === from.height) return from;
  return picture(height, from.width, (y, x, c) =>
    weighted(y, from.height, height, (source) => from.pixels[(source * from.width + x) * 3 + c]!),
  );
}

function weighted(i: number, inSize: number, outSize: number, level: (source: number) => number): number {
  const scale = inSize / outSize;
  const stretch = max(scale, 1);
  const centre = (i + 0.5) * scale;
  const sources: number[] = [];
  for (let x = max(0, Math.trunc(centre - 2 * stretch + 0.5)); x < Math.trunc(centre + 2 * stretch + 0.5); x++)
    if (x < inSize) sources.push(x);
  const exact = sources.map((x) => cubic((x - centre + 0.5) / stretch));
  const sum = exact.reduce((a, b) => a + b, 0);
  const fixed = exact.map((w) => Math.sign(w) * floor((Math.abs(w) / sum) * 2 ** 22 + 0.5));
  const total = sources.reduce((a, x, k) => a + level(x) * fixed[k]!, 0);
  return Math.min(255, max(0, floor((total + 2 ** 21) / 2 ** 22)));
}

function cubic(t: number): number {
  const x = Math.abs(t);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

/** Element (row, channel, time, y, x) of the rows of a picture, straight from the definition. */
export function referenceRows({ height, width, pixels }: Picture, patch: number, merge = 2, times = 2): Float32Array {
  const values: number[] = [];
  const side = patch * merge;
  for (let blockRow = 0; blockRow < height / side; blockRow++)
    for (let blockColumn = 0; blockColumn < width / side; blockColumn++)
      for (let inRow = 0; inRow < merge; inRow++)
        for (let inColumn = 0; inColumn < merge; inColumn++)
          for (let c = 0; c < 3; c++)
            for (let t = 0; t < times; t++)
              for (let y = 0; y < patch; y++)
                for (let x = 0; x < patch; x++) {
                  const row = (blockRow * merge + inRow) * patch + y;
                  const column = (blockColumn * merge + inColumn) * patch + x;
                  const level = pixels[(row * width + column) * 3 + c]!;
                  values.push(Math.fround(Math.fround(Math.fround(level / 255) - 0.5) / 0.5));
                }
  return Float32Array.from(values);
}
