import { G2rpoError } from '../../runtime/errors.ts';

export interface AreaLimits {
  /** pixels after resizing, at least */
  minPixels: number;
  /** pixels after resizing, at most */
  maxPixels: number;
}

/**
 * The size a picture is stretched to: both sides multiples of `factor`, the area within limits, the shape nearly kept.
 *
 *   round each side to a multiple (ties to even); if the area is above maxPixels: β = √(h·w / max), sides floor(h / β / f)·f;
 *   if below minPixels: β = √(min / (h·w)), sides ceil(h·β / f)·f
 *
 * @throws INVALID_IMAGE  one side is more than 200 times the other
 */
export function smartResize(height: number, width: number, factor: number, limits: AreaLimits, name = 'image') {
  const ratio = Math.max(height, width) / Math.min(height, width);
  if (!(ratio <= 200))
    throw new G2rpoError(
      'INVALID_IMAGE',
      `${name}: ${width}×${height} has an aspect ratio of ${ratio}; at most 200 is possible`,
      {
        image: name,
      },
    );
  return withinArea({ height, width }, factor, limits, { least: 0 });
}

export interface Counted {
  /** sides are at least so long when they have been rounded */
  least: number;
  /** pictures of this size that the area is of, and how many they count as where they are held against limits */
  frames?: number;
  counted?: number;
}

/** A size as `smartResize` makes it, whatever its shape. */
export function withinArea(
  { height, width }: { height: number; width: number },
  factor: number,
  { minPixels, maxPixels }: AreaLimits,
  { least, frames = 1, counted = frames }: Counted,
): { height: number; width: number } {
  const sides = (side: (length: number) => number) => ({ height: side(height), width: side(width) });
  const nearest = sides((length) => Math.max(least, roundHalfEven(length / factor) * factor));
  const area = counted * nearest.height * nearest.width;
  if (area > maxPixels) {
    const shrink = Math.sqrt((frames * height * width) / maxPixels);
    return sides((length) => Math.max(factor, Math.floor(length / shrink / factor) * factor));
  }
  if (area < minPixels) {
    const grow = Math.sqrt(minPixels / (frames * height * width));
    return sides((length) => Math.ceil((length * grow) / factor) * factor);
  }
  return nearest;
}

/** To the nearest whole number, ties to the even one. */
export function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  if (x - floor !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}
