import { G2rpoError } from '../../runtime/errors.ts';
import { roundHalfEven, type AreaLimits } from './smartResize.ts';

export interface ClipSize {
  frames: number;
  height: number;
  width: number;
}

export interface ClipLimits extends AreaLimits {
  /** sides become multiples of it */
  factor: number;
  temporalPatch: number;
  limitFrames?: boolean;
}

/** Visual tokens of the largest frame, where frames are limited. */
const FRAME_TOKENS = 768;

/**
 * The size that all frames of a clip are stretched to: sides multiples of `factor`, the area of all frames within limits.
 *
 *   a side below factor: both times max(f / h, f / w), truncated; then each side rounded to a multiple, and n to t of temporalPatch, ties to even
 *   if t·h·w of these is above maxPixels: β = √(n·h·w / max), sides floor(h / β / f)·f; if below minPixels: β = √(min / (n·h·w)), sides ceil(h·β / f)·f
 *   with limitFrames, max is n · max(min(768·f², floor(max / n)), trunc(1.05 · min))
 *
 * @throws INVALID_VIDEO  fewer frames than a temporal patch has, or one side more than 200 times the other
 */
export function videoSize(clip: ClipSize, limits: ClipLimits, name = 'video'): { height: number; width: number } {
  const { factor, temporalPatch, minPixels } = limits;
  const n = clip.frames;
  if (n < temporalPatch)
    throw new G2rpoError('INVALID_VIDEO', `${name}: needs at least ${temporalPatch} frames; got ${n}`, {
      video: name,
      frames: n,
    });
  const [height, width] = largeEnough(clip, factor);
  const ratio = Math.max(height, width) / Math.min(height, width);
  if (!(ratio <= 200))
    throw new G2rpoError(
      'INVALID_VIDEO',
      `${name}: frames of ${clip.width}×${clip.height} have an aspect ratio of ${ratio}; at most 200 is possible`,
      { video: name },
    );
  const sides = (side: (length: number) => number) => ({ height: side(height), width: side(width) });
  const nearest = sides((length) => Math.max(factor, roundHalfEven(length / factor) * factor));
  const area = roundHalfEven(n / temporalPatch) * temporalPatch * nearest.height * nearest.width;
  const maxPixels = limits.limitFrames ? n * largestFrame(n, limits) : limits.maxPixels;
  if (area > maxPixels) {
    const shrink = Math.sqrt((n * height * width) / maxPixels);
    return sides((length) => Math.max(factor, Math.floor(length / shrink / factor) * factor));
  }
  if (area < minPixels) {
    const grow = Math.sqrt(minPixels / (n * height * width));
    return sides((length) => Math.ceil((length * grow) / factor) * factor);
  }
  return nearest;
}

function largeEnough({ height, width }: ClipSize, factor: number): [number, number] {
  if (height >= factor && width >= factor) return [height, width];
  const scale = Math.max(factor / height, factor / width);
  return [Math.trunc(height * scale), Math.trunc(width * scale)];
}

function largestFrame(n: number, { minPixels, maxPixels, factor }: ClipLimits): number {
  return Math.max(Math.min(FRAME_TOKENS * factor ** 2, Math.floor(maxPixels / n)), Math.trunc(1.05 * minPixels));
}
