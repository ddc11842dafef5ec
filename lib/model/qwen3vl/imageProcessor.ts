import { stat } from 'node:fs/promises';
import { G2rpoError } from '../../runtime/errors.ts';
import { callNative, fromNative } from '../../runtime/native.ts';
import type { ImageSource } from './chatTemplate.ts';
import type { ModelConfig } from './config.ts';
import { decodeImage, nameOf, type RgbImage } from './decodeImage.ts';
import { ImageCache } from './imageCache.ts';
import { parseImageSettings, type ImageSettings } from './imageSettings.ts';
import { readJsonFile } from './jsonFile.ts';
import { pictureValues, pixelRows } from './pixelRows.ts';
import type { GridThw } from './positions.ts';
import { smartResize, type AreaLimits } from './smartResize.ts';

/** A picture at the size in which the policy sees it. */
export interface ProcessedImage {
  /** interleaved 8-bit RGB; an eighth of the rows it stands for, which are made where the policy computes */
  pixels: Uint8Array;
  height: number;
  width: number;
  /** in patches; the first is 1 */
  gridThw: GridThw;
  /** how many placeholders it takes in a prompt */
  visualTokens: number;
}

export interface ImageProcessorOptions extends Partial<AreaLimits> {
  /** a file that says to be larger is refused before it is decoded */
  decodeLimitPixels?: number;
  /** processed pictures kept for the next time; 0 keeps none */
  cacheBytes?: number;
}

export interface ImageProcessor {
  readonly settings: ImageSettings;
  /** what a byte of a channel becomes: fp32, [3, 256] */
  readonly values: Float32Array;
  /**
   * Decodes and resizes one picture, off the JavaScript thread.
   *
   * @throws INVALID_IMAGE  missing, truncated, too large, too narrow or no image; names the file
   */
  process(source: ImageSource): Promise<ProcessedImage>;
  /** The rows that the vision tower reads, all pictures one after the other: fp32, [patches, 3 · temporalPatch · patch²]. */
  rows(images: readonly ProcessedImage[]): Promise<Float32Array>;
}

/**
 * The image processor of a checkpoint folder. `minPixels` and `maxPixels` of the options take precedence over the
 * folder's `preprocessor_config.json`.
 *
 * @throws INVALID_CHECKPOINT  its settings are incomplete or do not fit the model
 */
export async function loadImageProcessor(
  dir: string,
  config: ModelConfig,
  options: ImageProcessorOptions = {},
): Promise<ImageProcessor> {
  const file = `${dir}/preprocessor_config.json`;
  return createImageProcessor(parseImageSettings(await readJsonFile(file), file, config), options);
}

export function createImageProcessor(from: ImageSettings, options: ImageProcessorOptions = {}): ImageProcessor {
  const settings: ImageSettings = {
    ...from,
    minPixels: options.minPixels ?? from.minPixels,
    maxPixels: options.maxPixels ?? from.maxPixels,
  };
  const { minPixels, maxPixels, patch, merge } = settings;
  if (!(minPixels >= 1 && maxPixels >= Math.max(minPixels, (patch * merge) ** 2)))
    throw new G2rpoError(
      'INVALID_ARGUMENT',
      `image processor: minPixels must be at least 1, and maxPixels at least that and ${(patch * merge) ** 2}; got ${minPixels} and ${maxPixels}`,
    );
  const cache = new ImageCache<ProcessedImage>(options.cacheBytes ?? 256 * 2 ** 20);
  const values = pictureValues(settings);
  return {
    ...{ settings, values },
    async process(source) {
      const make = () => processImage(source, settings, options.decodeLimitPixels);
      const key = typeof source === 'string' ? await identityOf(source) : undefined;
      return key === undefined ? make() : cache.get(key, make);
    },
    rows: (images) => pixelRows(images, values, settings),
  };
}

async function processImage(source: ImageSource, settings: ImageSettings, decodeLimitPixels?: number) {
  const { patch, merge } = settings;
  const image = await decodeImage(source, decodeLimitPixels);
  const { height, width } = smartResize(image.height, image.width, patch * merge, settings, nameOf(source));
  const pixels = await stretched(image, { height, width });
  const gridThw: GridThw = [1, height / patch, width / patch];
  return {
    pixels,
    height,
    width,
    gridThw,
    visualTokens: (height * width) / (patch * merge) ** 2,
  };
}

/** A picture at another size: the same one if it has that size already. */
export async function stretched(
  { pixels, ...from }: RgbImage,
  { height, width }: { height: number; width: number },
): Promise<Uint8Array> {
  if (height === from.height && width === from.width) return new Uint8Array(pixels);
  return new Uint8Array(await onWorker((addon) => addon.resizeBicubic(pixels, from.height, from.width, height, width)));
}

async function onWorker(call: Parameters<typeof callNative<Promise<ArrayBuffer>>>[0]): Promise<ArrayBuffer> {
  try {
    return await callNative(call);
  } catch (error) {
    throw fromNative(error);
  }
}

/** Changes whenever the file does; undefined if there is none, which decoding then reports. */
export async function identityOf(path: string): Promise<string | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  return found && [path, found.ino, found.mtimeNs, found.size].join('\0');
}
