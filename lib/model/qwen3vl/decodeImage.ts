import { readFile } from 'node:fs/promises';
import sharp, { type Metadata, type SharpOptions } from 'sharp';
import { describe, G2rpoError, isObject } from '../../runtime/errors.ts';
import type { ImageSource } from './chatTemplate.ts';

/** A decoded picture: interleaved 8-bit RGB, upright. */
export interface RgbImage {
  pixels: Uint8Array;
  height: number;
  width: number;
}

/** Above this, a small file is more likely an attack than a picture. */
export const DEFAULT_DECODE_LIMIT_PIXELS = 178_956_970;

const FORMATS = ['jpeg', 'png', 'webp', 'gif', 'tiff', 'heif', 'jp2', 'jxl'];

/**
 * The pixels of an image file, as the Hugging Face processor sees them: EXIF orientation applied, alpha dropped (not
 * blended), palette and grey expanded, colour profiles ignored, the first frame of an animation.
 *
 * 16-bit grey is clipped at 255, 16-bit colour keeps its high byte, and CMYK is converted by the plain formula
 * r = (255 − c)(255 − k) / 255: all three as Pillow does.
 *
 * @throws INVALID_IMAGE  missing, truncated, of an unknown format, or of more than `limitPixels` pixels; names the file
 */
export async function decodeImage(source: ImageSource, limitPixels = DEFAULT_DECODE_LIMIT_PIXELS): Promise<RgbImage> {
  if (typeof source !== 'string' && !isNamedBytes(source))
    throw refusal('picture', `must be a path, or bytes with a name; got ${describe(source)}`);
  const name = nameOf(source);
  const bytes = typeof source === 'string' ? await readImageFile(source) : source.bytes;
  if (bytes.length === 0) throw refusal(name, 'the file is empty');
  // a profile would change colours, and a warning about metadata does not make pixels wrong
  const options: SharpOptions = { limitInputPixels: false, ignoreIcc: true, failOn: 'error' };
  try {
    const metadata = await sharp(bytes, options).metadata();
    check(metadata, name, limitPixels);
    return await decode(bytes, metadata, options);
  } catch (cause) {
    if (cause instanceof G2rpoError) throw cause;
    throw refusal(name, `truncated, corrupt or not an image: ${linesOnce((cause as Error).message)}`, cause);
  }
}

const isNamedBytes = (source: unknown): boolean =>
  isObject(source) && source['bytes'] instanceof Uint8Array && typeof source['name'] === 'string';

/** What to call a picture in a message. */
export function nameOf(source: ImageSource): string {
  return typeof source === 'string' ? source : source.name;
}

function check({ format, width, height }: Metadata, name: string, limitPixels: number): void {
  if (!FORMATS.includes(format)) throw refusal(name, `format must be one of ${FORMATS.join(', ')}; got ${format}`);
  if (width * height > limitPixels)
    throw refusal(name, `${width}×${height} is ${width * height} pixels; the limit is ${limitPixels}`);
}

async function decode(bytes: Uint8Array, { space, channels }: Metadata, options: SharpOptions): Promise<RgbImage> {
  const upright = sharp(bytes, options).autoOrient();
  if (space === 'cmyk') {
    const { data, info } = await upright
      .pipelineColourspace('cmyk')
      .toColourspace('cmyk')
      .raw()
      .toBuffer({ resolveWithObject: true });
    return { ...sizeOf(info), pixels: fromCmyk(data) };
  }
  if (space === 'grey16' && channels === 1) {
    const { data, info } = await upright
      .toColourspace('grey16')
      .raw({ depth: 'ushort' })
      .toBuffer({ resolveWithObject: true });
    return { ...sizeOf(info), pixels: fromGrey16(data) };
  }
  const { data, info } = await upright
    .removeAlpha()
    .toColourspace('srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  return { ...sizeOf(info), pixels: info.channels === 3 ? data : fromGrey(data) };
}

function sizeOf({ height, width }: { height: number; width: number }) {
  return { height, width };
}

function fromGrey(grey: Uint8Array): Uint8Array {
  const pixels = new Uint8Array(3 * grey.length);
  for (let i = 0; i < grey.length; i++) pixels.fill(grey[i]!, 3 * i, 3 * i + 3);
  return pixels;
}

function fromGrey16(bytes: Buffer): Uint8Array {
  const grey = Uint8Array.from({ length: bytes.length / 2 }, (_, i) => Math.min(255, bytes.readUInt16LE(2 * i)));
  return fromGrey(grey);
}

function fromCmyk(cmyk: Uint8Array): Uint8Array {
  const pixels = new Uint8Array((cmyk.length / 4) * 3);
  for (let from = 0, to = 0; from < cmyk.length; from += 4) {
    const white = 255 - cmyk[from + 3]!;
    for (let c = 0; c < 3; c++) pixels[to++] = white - Math.round((cmyk[from + c]! * white) / 255);
  }
  return pixels;
}

async function readImageFile(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw refusal(path, code === 'ENOENT' ? 'no such file' : message, cause);
  }
}

function refusal(name: string, message: string, cause?: unknown): G2rpoError {
  return new G2rpoError('INVALID_IMAGE', `${name}: ${message}`, { image: name }, { cause });
}

/** On one line. Decoders that run at a time gather their words in one place, where the same ones may then stand several times. */
const linesOnce = (text: string): string => {
  const lines = text.split('\n').map((line) => line.trim().replace(/\s+/g, ' '));
  return [...new Set(lines.filter(Boolean))].join(' ');
};
