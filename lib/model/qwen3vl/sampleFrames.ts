import { G2rpoError, wantList } from '../../runtime/errors.ts';
import { roundHalfEven } from './smartResize.ts';

export interface FrameSampling {
  /** frames of the source */
  total: number;
  /** of the source, per second */
  fps: number;
  /** so many frames, instead of so many per second */
  numFrames?: number | undefined;
}

export interface FrameRule {
  /** frames taken of a second */
  fps: number;
  minFrames: number;
  maxFrames: number;
  /** how areas are meant; with 'frame' the number of frames is made even */
  sizing?: 'clip' | 'frame';
}

/**
 * Indices of the frames that are looked at, spread evenly from the first to the last.
 *
 *   n = trunc(total / source fps · fps), raised to minFrames, lowered to maxFrames and to total; or numFrames
 *   with the sizing 'frame' n and its limits are even: n and the upper ones lowered, minFrames raised
 *   index k = round(k · (total − 1) / (n − 1)), ties to even
 *
 * @throws INVALID_VIDEO  fps is no positive number, or numFrames none from 1 to maxFrames and to the frames there are
 */
export function sampleFrames({ total, fps, numFrames }: FrameSampling, rule: FrameRule, name = 'video'): number[] {
  checkFps(fps, name);
  const most = Math.min(rule.maxFrames, total);
  if (numFrames !== undefined && !(Number.isSafeInteger(numFrames) && numFrames >= 1 && numFrames <= most))
    throw new G2rpoError(
      'INVALID_VIDEO',
      `${name}: numFrames must be a whole number from 1 to ${most}, of ${total} frames; got ${numFrames}`,
      { video: name, numFrames, total },
    );
  const even = (x: number) => (rule.sizing === 'frame' ? x - (x % 2) : x);
  const least = rule.sizing === 'frame' ? rule.minFrames + (rule.minFrames % 2) : rule.minFrames;
  const n = even(numFrames ?? Math.min(Math.max(Math.trunc((total / fps) * rule.fps), least), even(most)));
  const step = (total - 1) / (n - 1);
  return Array.from({ length: n }, (_, k) => (k === 0 ? 0 : k === n - 1 ? total - 1 : roundHalfEven(k * step)));
}

/** @throws INVALID_VIDEO  fps is no positive number */
export function checkFps(fps: unknown, name: string): asserts fps is number {
  if (!(typeof fps === 'number' && fps > 0 && Number.isFinite(fps)))
    throw new G2rpoError('INVALID_VIDEO', `${name}: fps must be a positive number; got ${String(fps)}`, {
      video: name,
      fps,
    });
}

/**
 * When each temporal patch was, as the prompt says it: `<1.5 seconds>`, the mean over the times of its first and last frame. The last frame
 * is repeated where frames run out.
 */
export function timestampsOf(indices: readonly number[], fps: number, temporalPatch: number): string[] {
  wantList('video', 'indices', indices);
  const at = (k: number) => indices[Math.min(k, indices.length - 1)]! / fps;
  return Array.from({ length: Math.ceil(indices.length / temporalPatch) }, (_, p) => {
    const seconds = (at(p * temporalPatch) + at((p + 1) * temporalPatch - 1)) / 2;
    return `<${oneDecimal(seconds)} seconds>`;
  });
}

/** One decimal of the binary value, an exact tie to even: 0.25 is 0.2, 0.75 is 0.8. `toFixed` rounds ties up. */
function oneDecimal(x: number): string {
  const isTie = Number.isInteger(x * 4) && !Number.isInteger(x * 2); // times 4 is exact, and ties are odd quarters
  return isTie ? (roundHalfEven(x * 10) / 10).toFixed(1) : x.toFixed(1);
}
