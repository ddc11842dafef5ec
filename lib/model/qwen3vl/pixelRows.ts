import { patchRows } from '../../kernels/patchRows.ts';
import { empty, Scope, tensor, type TypedArray } from '../../runtime/tensor.ts';
import type { ProcessedImage } from './imageProcessor.ts';
import type { ImageSettings } from './imageSettings.ts';

type Normalisation = Pick<ImageSettings, 'mean' | 'std'>;

/** What the bytes of a picture become, [3, 256]: (x / 255 − mean) / std, each step rounded to fp32. */
export const pictureValues = ({ mean, std }: Normalisation): Float32Array =>
  table((x, c) => Math.fround(Math.fround(x / 255) - Math.fround(mean[c]!)) / Math.fround(std[c]!));

/** Of a video: (x − 255 · mean) / (255 · std) in fp32, as torchvision has it: a picture's differ from it in the last bit. */
export const videoValues = ({ mean, std }: Normalisation): Float32Array =>
  table((x, c) => Math.fround(x - Math.fround(255 * mean[c]!)) / Math.fround(255 * std[c]!));

const table = (value: (x: number, channel: number) => number): Float32Array =>
  Float32Array.from({ length: 3 * 256 }, (_, i) => value(i % 256, Math.floor(i / 256)));

/** The rows that the vision tower reads of pictures or videos, one after the other: fp32, [patches, 3 · temporalPatch · patch²]. */
export async function pixelRows(
  shown: readonly Pick<ProcessedImage, 'pixels' | 'gridThw'>[],
  values: Float32Array,
  { patch, merge, temporalPatch }: ImageSettings,
): Promise<Float32Array> {
  using scope = new Scope();
  const patches = shown.reduce((sum, { gridThw: [t, h, w] }) => sum + t * h * w, 0);
  const rows = empty('f32', [patches, 3 * temporalPatch * patch ** 2], scope);
  patchRows({
    pixels: shown.map(({ pixels }) => tensor(pixels as TypedArray, undefined, scope)),
    grids: tensor(Int32Array.from(shown.flatMap(({ gridThw }) => [...gridThw])), [shown.length, 3], scope),
    values: tensor(values as TypedArray, [3, 256], scope),
    ...{ rows, patch, merge },
  });
  return (await rows.read()) as Float32Array;
}
