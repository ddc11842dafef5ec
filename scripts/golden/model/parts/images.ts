import { readFileSync } from 'node:fs';
import { createImageProcessor, decodeImage, G2rpoError, smartResize } from '../../../../lib/index.ts';
import type { Checks, Comparer } from '../checks.ts';
import type { ModelFolder } from '../modelFolder.ts';
import { formulas, pngOf } from '../pictures.ts';
import { onlyKeys, sha256 } from '../values.ts';
import { compareRows, processorSettings, type GoldenRows, type PixelSettings } from './pixelRows.ts';

interface GoldenImage {
  name: string;
  file?: string;
  bytes?: number;
  sha256_file?: string;
  formula?: keyof typeof formulas;
  args?: [number, number, never, never];
  decoded: { width: number; height: number; sha256_rgb: string; sample_xy_rgb: number[][]; lossy: boolean };
  expected: Record<string, ExpectedRows>;
}
interface ExpectedRows {
  pil: GoldenRows | { error: string };
  torchvision: GoldenRows | { error: string };
  pil_vs_torchvision?: { max_levels: number; fraction_different: number };
}
interface GoldenImages {
  settings: Record<string, PixelSettings>;
  images: GoldenImage[];
  errors: { width: number; height: number; error: string }[];
  smart_resize: Record<string, number | [number, number] | { error: string }>[];
}

const IMAGE_KEYS = ['name', 'file', 'bytes', 'sha256_file', 'stored_mode', 'formula', 'args', 'decoded', 'expected', 'direct_pil_object_same_as_load_image']; // prettier-ignore

/** `cases/images.json`: decoded pictures, their rows by the processor, and sizes. */
export async function images(folder: ModelFolder, file: string, checks: Checks): Promise<void> {
  const golden = folder.json<GoldenImages>(file);
  await checks.run('file', (check) => {
    onlyKeys(file, golden, ['settings', 'images', 'errors', 'smart_resize', 'note']);
    check.same('images', golden.images.length > 0, true);
  });
  for (const image of golden.images) {
    await checks.run(`${image.name}: decoded`, (check) => checkDecoded(folder, image, check));
    for (const [setting, expected] of Object.entries(image.expected))
      await checks.run(`${image.name}: rows, ${setting}`, (check) =>
        checkRows(folder, image, settingOf(golden, setting), expected, check),
      );
  }
  for (const { width, height, error } of golden.errors)
    await checks.run(`refusal of ${width}×${height}`, (check) => {
      const ratio = /got ([\d.]+)/.exec(error)?.[1];
      for (const setting of Object.values(golden.settings))
        check.same('aspect ratio', Number(ratio), refusedRatio(height, width, setting));
    });
  for (const { height, width, ...sizes } of golden.smart_resize)
    await checks.run(`smart resize of ${height as number}×${width as number}`, (check) => {
      for (const [setting, wanted] of Object.entries(sizes)) {
        const given = [height as number, width as number, settingOf(golden, setting)] as const;
        if (Array.isArray(wanted)) check.same(setting, wanted, resized(...given));
        else check.same(setting, true, refusedRatio(...given) > 200);
      }
    });
}

function settingOf(golden: GoldenImages, name: string): PixelSettings {
  const setting = golden.settings[name];
  if (!setting) throw new Error(`there are no settings ${name}`);
  return setting;
}

function resized(height: number, width: number, setting: PixelSettings): number[] {
  const { merge, patch, ...limits } = processorSettings(setting);
  const size = smartResize(height, width, merge * patch, limits);
  return [size.height, size.width];
}

/** The aspect ratio for which a size is refused; NaN if it is not. */
function refusedRatio(height: number, width: number, setting: PixelSettings): number {
  try {
    resized(height, width, setting);
  } catch (error) {
    if (error instanceof G2rpoError && error.code === 'INVALID_IMAGE')
      return Number(/aspect ratio of ([\d.]+)/.exec(error.message)?.[1]);
    throw error;
  }
  return Number.NaN;
}

/** A file, or a lossless one of a formula. */
async function sourceOf(folder: ModelFolder, { name, file, formula, args }: GoldenImage) {
  if (file !== undefined) return folder.path(file);
  const make = formulas[formula!];
  if (!make) throw new Error(`there is neither a file nor a formula called ${formula}`);
  return { name, bytes: await pngOf(make(...args!)) };
}

async function checkDecoded(folder: ModelFolder, image: GoldenImage, check: Comparer): Promise<void> {
  onlyKeys(image.name, image, IMAGE_KEYS);
  const { width, height, sha256_rgb: hash, lossy, sample_xy_rgb: samples } = image.decoded;
  if (image.file !== undefined) {
    const bytes = readFileSync(folder.path(image.file));
    check.same('bytes', image.bytes, bytes.length);
    check.same('sha256_file', image.sha256_file, sha256(bytes));
  }
  const decoded = await decodeImage(await sourceOf(folder, image));
  check.same('decoded', { width, height }, { width: decoded.width, height: decoded.height });
  const levels = { rtol: 0, atol: lossy ? 3 : 0 }; // JPEG decoders differ
  samples.forEach(([x, y, ...rgb], k) => {
    const at = 3 * (y! * decoded.width + x!);
    check.near(`sample_xy_rgb[${k}]`, rgb, Array.from({ length: 3 }, (_, c) => decoded.pixels[at + c]), levels, 'pixels'); // prettier-ignore
  });
  if (!lossy) check.same('sha256_rgb', hash, sha256(decoded.pixels));
}

async function checkRows(
  folder: ModelFolder,
  image: GoldenImage,
  setting: PixelSettings,
  { pil, torchvision, pil_vs_torchvision: between }: ExpectedRows,
  check: Comparer,
): Promise<void> {
  const source = await sourceOf(folder, image);
  const processor = createImageProcessor(processorSettings(setting));
  if ('error' in pil || 'error' in torchvision) {
    const code = await processor.process(source).then(() => 'none', (error: { code?: string }) => error.code); // prettier-ignore
    return check.same('error', 'INVALID_IMAGE', code);
  }
  const processed = await processor.process(source);
  const rows = await processor.rows([processed]);
  const exact = sha256((await decodeImage(source)).pixels) === image.decoded.sha256_rgb;
  compareRows(
    { rows, gridThw: processed.gridThw, patch: setting.patch_size },
    { exact: pil, other: torchvision, between },
    exact,
    check,
  );
}
