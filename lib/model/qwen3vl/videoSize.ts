import { G2rpoError } from '../../runtime/errors.ts';
import { roundHalfEven, withinArea, type AreaLimits } from './smartResize.ts';

export interface ClipSize {
  frames: number;
  height: number;
  width: number;
}

export interface ClipLimits extends AreaLimits {
  /** sides become multiples of it */
  factor: number;
  temporalPatch: number;
  /** whether limits are of all frames together, which is the default, or of each */
  sizing?: 'clip' | 'frame';
  limitFrames?: boolean;
}

/** Visual tokens of the largest frame, where frames are limited. */
const FRAME_TOKENS = 768;
/** Visual tokens of all frames together, where each is limited: nine tenths of what a prompt holds in qwen-vl-utils. */
const TOTAL_TOKENS = 0.9 * 128_000;

/**
 * The size that all frames of a clip are stretched to: sides multiples of `factor`, the area of all frames within limits.
 *
 *   a side below factor: both times max(f / h, f / w), truncated; then each side rounded to a multiple, and n to t of temporalPatch,
 *   ties to even; if t·h·w of these is above maxPixels: β = √(n·h·w / max), sides floor(h / β / f)·f;
 *   if below minPixels: β = √(min / (n·h·w)), sides ceil(h·β / f)·f
 *   with limitFrames, max is n · max(min(768·f², floor(max / n)), trunc(1.05 · min))
 *
 * With the sizing 'frame' a frame is sized as a picture whose sides are at least factor, and limits are of one frame: maxPixels is lowered to
 * max(min(768·f², 2 · 115200·f² / n), trunc(1.05 · min)).
 *
 * @throws INVALID_VIDEO  fewer frames than a temporal patch has, or one side more than 200 times the other
 */
export function videoSize(clip: ClipSize, limits: ClipLimits, name = 'video'): { height: number; width: number } {
  const { factor, temporalPatch, minPixels } = limits;
  const n = clip.frames;
  checkFrames(n, temporalPatch, name);
  if (limits.sizing === 'frame') {
    checkShape(clip, clip, name);
    const most = largestFrame((2 * TOTAL_TOKENS * factor ** 2) / n, limits);
    return withinArea(clip, factor, { minPixels, maxPixels: Math.min(limits.maxPixels, most) }, { least: factor });
  }
  const size = largeEnough(clip, factor);
  checkShape(clip, size, name);
  const maxPixels = limits.limitFrames ? n * largestFrame(Math.floor(limits.maxPixels / n), limits) : limits.maxPixels;
  const counted = roundHalfEven(n / temporalPatch) * temporalPatch;
  return withinArea(size, factor, { minPixels, maxPixels }, { least: factor, frames: n, counted });
}

/** @throws INVALID_VIDEO  fewer frames than a temporal patch has */
export function checkFrames(frames: number, temporalPatch: number, name: string): void {
  if (frames < temporalPatch)
    throw new G2rpoError('INVALID_VIDEO', `${name}: needs at least ${temporalPatch} frames; got ${frames}`, {
      video: name,
      frames,
    });
}

function checkShape(clip: ClipSize, { height, width }: Omit<ClipSize, 'frames'>, name: string): void {
  const ratio = Math.max(height, width) / Math.min(height, width);
  if (!(ratio <= 200))
    throw new G2rpoError(
      'INVALID_VIDEO',
      `${name}: frames of ${clip.width}×${clip.height} have an aspect ratio of ${ratio}; at most 200 is possible`,
      { video: name },
    );
}

function largeEnough({ height, width }: ClipSize, factor: number): { height: number; width: number } {
  const scale = height >= factor && width >= factor ? 1 : Math.max(factor / height, factor / width);
  return { height: Math.trunc(height * scale), width: Math.trunc(width * scale) };
}

/** The largest area of a frame whose share is so much. */
const largestFrame = (share: number, { minPixels, factor }: ClipLimits): number =>
  Math.max(Math.min(FRAME_TOKENS * factor ** 2, share), Math.trunc(1.05 * minPixels));
