import { G2rpoError } from '../../runtime/errors.ts';
import type { ImageSource, VideoSource } from './chatTemplate.ts';
import type { ModelConfig } from './config.ts';
import { decodeImage, nameOf, type RgbImage } from './decodeImage.ts';
import { ImageCache } from './imageCache.ts';
import { identityOf, stretched, type ImageProcessorOptions, type ProcessedImage } from './imageProcessor.ts';
import { readJsonFile } from './jsonFile.ts';
import { pixelRows, videoValues } from './pixelRows.ts';
import { sampleFrames, timestampsOf } from './sampleFrames.ts';
import { framesOf } from './videoFrames.ts';
import { checkFrames, videoSize } from './videoSize.ts';
import { parseVideoSettings, type VideoOptions, type VideoSettings } from './videoSettings.ts';

/** Sampled frames at the size in which the policy sees them. `pixels` has them one after the other, `gridThw` counts temporal patches. */
export interface ProcessedVideo extends ProcessedImage {
  frames: number;
  /** what the prompt says before each temporal patch */
  timestamps: string[];
}

export interface VideoProcessor {
  readonly settings: VideoSettings;
  /** what a byte of a channel becomes: fp32, [3, 256] */
  readonly values: Float32Array;
  /**
   * Samples frames, decodes and resizes them, off the JavaScript thread.
   *
   * @throws INVALID_VIDEO  no frames, too few or too many, of several sizes, too narrow, or fps that is no positive number
   * @throws INVALID_IMAGE  a frame that is missing, truncated, too large or no image; names its file
   */
  process(source: VideoSource): Promise<ProcessedVideo>;
  /** Writes the rows that the vision tower reads: fp32, [patches, 3 · temporalPatch · patch²]. */
  writeRows(video: ProcessedVideo, rows: Float32Array): Promise<void>;
}

/** Frames decoded at a time: as large as the source has them. */
const AT_A_TIME = 4;

/**
 * The processor that `video_preprocessor_config.json` of a checkpoint folder describes; undefined if there is none.
 *
 * @throws INVALID_CHECKPOINT  incomplete, or for another model
 * @throws INVALID_ARGUMENT  limits that no video could meet
 */
export async function loadVideoProcessor(
  dir: string,
  config: ModelConfig,
  options: VideoOptions = {},
  images: Pick<ImageProcessorOptions, 'decodeLimitPixels' | 'cacheBytes'> = {},
): Promise<VideoProcessor | undefined> {
  const file = `${dir}/video_preprocessor_config.json`;
  const json = await readJsonFile(file, { optional: true });
  return json === undefined ? undefined : createVideoProcessor(parseVideoSettings(json, file, config), options, images);
}

export function createVideoProcessor(
  from: VideoSettings,
  options: VideoOptions = {},
  {
    decodeLimitPixels,
    cacheBytes = 256 * 2 ** 20,
  }: Pick<ImageProcessorOptions, 'decodeLimitPixels' | 'cacheBytes'> = {},
): VideoProcessor {
  const perFrame = options.sizing === 'frame' ? frameLimits(from) : {};
  const settings: VideoSettings = { ...from, ...perFrame, ...options };
  checkSettings(settings);
  const cache = new ImageCache<ProcessedVideo>(cacheBytes);
  const values = videoValues(settings);
  return {
    ...{ settings, values },
    async process({ frames, fps, numFrames }) {
      const { name, sources } = framesOf(frames);
      const indices = sampleFrames({ total: sources.length, fps, numFrames }, settings, name);
      checkFrames(
        Math.max(indices.length, Math.min(sources.length, numFrames ?? Infinity)),
        settings.temporalPatch,
        name,
      );
      const chosen = indices.map((i) => sources[i]!);
      const make = async () => ({
        ...(await processFrames(chosen, settings, name, decodeLimitPixels)),
        timestamps: timestampsOf(indices, fps, settings.temporalPatch),
      });
      const key = await identityOfAll(chosen);
      return key === undefined ? make() : cache.get([fps, indices.join(), key].join('\0'), make);
    },
    writeRows: async (video, rows) => rows.set(await pixelRows([video], values, settings)),
  };
}

/** Limits of a frame in qwen-vl-utils; those of the file are of a whole clip. */
function frameLimits({ patch, merge }: VideoSettings): Pick<VideoSettings, 'minPixels' | 'maxPixels'> {
  const token = (patch * merge) ** 2;
  return { minPixels: 128 * token, maxPixels: 768 * token };
}

function checkSettings({
  minPixels,
  maxPixels,
  fps,
  minFrames,
  maxFrames,
  temporalPatch,
  patch,
  merge,
  sizing,
}: VideoSettings) {
  const area = (sizing === 'frame' ? 1 : temporalPatch) * (patch * merge) ** 2;
  const problem = !(minPixels >= 1 && maxPixels >= Math.max(minPixels, area))
    ? `minPixels must be at least 1, and maxPixels at least that and ${area}; got ${minPixels} and ${maxPixels}`
    : !(fps > 0 && Number.isFinite(fps))
      ? `fps must be a positive number; got ${fps}`
      : !(minFrames >= 1 && maxFrames >= Math.max(minFrames, temporalPatch))
        ? `minFrames must be at least 1, and maxFrames at least that and ${temporalPatch}; got ${minFrames} and ${maxFrames}`
        : undefined;
  if (problem !== undefined) throw new G2rpoError('INVALID_ARGUMENT', `video processor: ${problem}`);
}

async function processFrames(
  sources: readonly ImageSource[],
  settings: VideoSettings,
  name: string,
  decodeLimitPixels: number | undefined,
): Promise<Omit<ProcessedVideo, 'timestamps'>> {
  const { patch, merge, temporalPatch } = settings;
  const first = await decodeImage(sources[0]!, decodeLimitPixels);
  const frames = sources.length;
  const size = videoSize({ frames, ...first }, { ...settings, factor: patch * merge }, name);
  const { height, width } = size;
  const pixels = new Uint8Array(frames * height * width * 3);
  const rest = sources.entries();
  const work = async () => {
    for (const [k, source] of rest) {
      const frame = k === 0 ? first : await decodeImage(source, decodeLimitPixels);
      checkSameSize(first, frame, sources[0]!, source, name);
      pixels.set(await stretched(frame, size), k * height * width * 3);
    }
  };
  const stop = (error: unknown) => {
    while (!rest.next().done); // the others have nothing left to do
    throw error;
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, () => work().catch(stop)));
  const gridThw = [Math.ceil(frames / temporalPatch), height / patch, width / patch] as const;
  const visualTokens = (gridThw[0] * height * width) / (patch * merge) ** 2;
  return { pixels, frames, height, width, gridThw, visualTokens };
}

function checkSameSize(first: RgbImage, frame: RgbImage, a: ImageSource, b: ImageSource, name: string): void {
  if (first.height === frame.height && first.width === frame.width) return;
  throw new G2rpoError(
    'INVALID_VIDEO',
    `${name}: frames must be of one size; ${nameOf(a)} is ${first.width}×${first.height}, ${nameOf(b)} is ${frame.width}×${frame.height}`,
    { video: name, image: nameOf(b) },
  );
}

/** Changes whenever one of the files does; undefined where one is not there, or no file. */
async function identityOfAll(sources: readonly ImageSource[]): Promise<string | undefined> {
  const found = await Promise.all(
    sources.map((source) => (typeof source === 'string' ? identityOf(source) : undefined)),
  );
  return found.includes(undefined) ? undefined : found.join('\0');
}
