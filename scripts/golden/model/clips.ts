import type { ImageSource } from '../../../lib/index.ts';
import { formulas, pngOf } from './pictures.ts';

/** A clip by formula, frame by frame. */
export interface GoldenClip {
  frame_formula: keyof typeof formulas;
  frame_args: [number, number, never, never][];
  frames: number;
  height: number;
  width: number;
  fps: number;
}

/** Lossless files of the frames, so that they go through the whole processor. */
export async function framesOfClip(clip: GoldenClip, name: string): Promise<ImageSource[]> {
  const make = formulas[clip.frame_formula];
  if (!make) throw new Error(`there is no formula called ${String(clip.frame_formula)}`);
  const frames = clip.frame_args.map((args) => make(...args));
  if (frames.length !== clip.frames) throw new Error(`frames is ${clip.frames}; frame_args has ${frames.length}`);
  return Promise.all(
    frames.map(async (frame, t) => {
      if (frame.height !== clip.height || frame.width !== clip.width)
        throw new Error(`frame ${t} is ${frame.height}×${frame.width}; the clip ${clip.height}×${clip.width}`);
      return { name: `${name}, frame ${t}`, bytes: await pngOf(frame) };
    }),
  );
}
