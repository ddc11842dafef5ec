import sharp from 'sharp';
import { eachWord } from '../../../lib/model/qwen3vl/randomStream.ts';

export interface Picture {
  height: number;
  width: number;
  /** interleaved RGB */
  pixels: Uint8Array;
}

/** A picture by a function of row, column and channel. */
export function picture(height: number, width: number, level: (y: number, x: number, c: number) => number): Picture {
  const pixels = new Uint8Array(height * width * 3);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) for (let c = 0; c < 3; c++) pixels[(y * width + x) * 3 + c] = level(y, x, c);
  return { height, width, pixels };
}

/** A lossless file of a picture, so that it goes through the whole processor. */
export const pngOf = ({ pixels, width, height }: Picture): Promise<Buffer> =>
  sharp(pixels, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();

const { floor, max } = Math;

/** The pictures that golden cases give by formula. */
export const formulas = {
  ramp: (h: number, w: number, s = 0) => picture(h, w, (y, x, c) => 3 * x + 5 * y + 70 * c + floor((x * y) / 7) + s),
  blocks: (h: number, w: number, k = 9, s = 0) =>
    picture(h, w, (y, x, c) => {
      const odd = (floor((x + s) / k) + floor(y / (k + 2 * c))) % 2 === 1;
      return odd ? 250 - 30 * c : 12 + 25 * c;
    }),
  noise(h: number, w: number, name: string) {
    const pixels = new Uint8Array(h * w * 3);
    eachWord(name, pixels.length, (i, high) => (pixels[i] = high >>> 24));
    return { height: h, width: w, pixels };
  },
  soft: (h: number, w: number) =>
    picture(h, w, (y, x, c) =>
      floor([(255 * x) / max(1, w - 1), (255 * y) / max(1, h - 1), (255 * (x + y)) / max(1, w + h - 2)][c]!),
    ),
};
