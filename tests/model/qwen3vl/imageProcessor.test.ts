import { mkdtempSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '../../../lib/model/qwen3vl/config.ts';
import {
  createImageProcessor,
  loadImageProcessor,
  type ProcessedImage,
} from '../../../lib/model/qwen3vl/imageProcessor.ts';
import { parseImageSettings, type ImageSettings } from '../../../lib/model/qwen3vl/imageSettings.ts';
import { native } from '../../../lib/runtime/native.ts';
import { processorSettings, type PixelSettings } from '../../../scripts/golden/model/parts/pixelRows.ts';
import { formulas, picture, pngOf, type Picture } from '../../../scripts/golden/model/pictures.ts';
import { goldenJson, goldenPath, testGolden } from '../../support/goldenModel.ts';
import { referenceResize, referenceRows } from '../../support/referenceResize.ts';
import { rejectionOf, thrownBy } from '../../support/thrown.ts';

const { settings: goldenSettings } = goldenJson<{ settings: Record<string, PixelSettings> }>('cases/images.json');
const settingsOf = (setting: string): ImageSettings => processorSettings(goldenSettings[setting]!);
const asPng = async (of: Picture, name = 'picture.png') => ({ name, bytes: await pngOf(of) });

testGolden('cases/images.json');

describe('native resize and patches', () => {
  const resize = async ({ pixels, height, width }: Picture, h: number, w: number) =>
    new Uint8Array(await native().resizeBicubic(pixels, height, width, h, w));

  it('equals the reference on any picture', async () => {
    const side = fc.integer({ min: 1, max: 40 });
    await fc.assert(
      fc.asyncProperty(side, side, side, side, fc.nat(), async (height, width, h, w, seed) => {
        const from = formulas.noise(height, width, `resize/${seed}`);
        expect(await resize(from, h, w)).toEqual(referenceResize(from, h, w).pixels);
      }),
      { numRuns: 60 },
    );
  });

  it.each([
    ['black and white edges, where bicubic overshoots', formulas.blocks(64, 48, 5), 96, 128],
    ['a tower, columns first', formulas.noise(707, 7, 'tower'), 130, 32],
    ['a tower that grows', formulas.noise(404, 4, 'growing tower'), 440, 32],
    ['a hundred times as high, rows first', formulas.noise(700, 7, 'no tower'), 130, 32],
    ['one direction stays', formulas.ramp(33, 32), 64, 32],
    ['the other stays', formulas.ramp(32, 33), 32, 64],
    ['both stay', formulas.ramp(9, 7), 9, 7],
    ['one pixel', formulas.ramp(1, 1), 32, 64],
    ['to one pixel', formulas.soft(50, 70), 1, 1],
  ])('%s', async (_, from, h, w) => {
    expect(await resize(from, h, w)).toEqual(referenceResize(from, h, w).pixels);
  });

  it.each([16, 4, 1])('rows follow the merge order with patches of %i', async (patch) => {
    const from = picture(patch * 4, patch * 6, (y, x, c) => 7 * y + 31 * x + 101 * c);
    const { rows } = createImageProcessor({ ...settingsOf('quick'), patch });
    const gridThw = [1, 4, 6] as const;
    expect(await rows([{ ...from, gridThw, visualTokens: 6 }])).toEqual(referenceRows(from, patch));
  });

  it('refuses sizes that do not fit the pixels', async () => {
    const { pixels } = formulas.ramp(8, 8);
    expect(() => native().resizeBicubic(pixels, 8, 9, 4, 4)).toThrow(/u8\[8, 9, 3\]; got 192 bytes/);
    expect(() => native().resizeBicubic(pixels, 8, 8, 0, 4)).toThrow(/newHeight must be an integer/);
    expect(() => native().resizeBicubic(pixels, 8, 8, 4.5, 4)).toThrow(/newHeight must be an integer/);
  });
});

describe('the processor', () => {
  const tiny = parseModelConfig(goldenJson('checkpoints/tiny/config.json'), 'config.json');
  const folder = () => mkdtempSync(join(tmpdir(), 'g2rpo-'));
  const quick = createImageProcessor(settingsOf('quick'));

  it('reads the settings of a checkpoint, and options take precedence', async () => {
    const { settings } = await loadImageProcessor(goldenPath('checkpoints/tiny'), tiny, { maxPixels: 20_000 });
    expect(settings).toEqual({ ...settingsOf('quick'), maxPixels: 20_000 });
    const wide = await loadImageProcessor(goldenPath('checkpoints/tiny'), tiny, { maxPixels: 16_384 });
    const { height, width } = await wide.process(goldenPath('images/progressive_180x244.jpg'));
    expect(height * width).toBeLessThanOrEqual(16_384);
  });

  it('accepts the older names of the limits', () => {
    const json = {
      ...goldenJson<object>('checkpoints/tiny/preprocessor_config.json'),
      min_pixels: 1024,
      max_pixels: 2048,
    };
    expect(parseImageSettings(json, 'f', tiny)).toMatchObject({ minPixels: 1024, maxPixels: 2048 });
  });

  it('reports all problems of the settings', () => {
    const json = {
      ...goldenJson<object>('checkpoints/tiny/preprocessor_config.json'),
      patch_size: 14,
      resample: 2,
      image_mean: 3,
      do_resize: false,
    };
    const error = thrownBy(() => parseImageSettings(json, 'preprocessor_config.json', tiny));
    expect(error.code).toBe('INVALID_CHECKPOINT');
    for (const part of ['patch_size is 14, but the model has 16', 'resample must be 3', 'image_mean', 'do_resize'])
      expect(error.message).toContain(part);
    expect(thrownBy(() => createImageProcessor(settingsOf('quick'), { maxPixels: 100 })).code).toBe('INVALID_ARGUMENT');
  });

  it('puts the rows of several pictures one after the other', async () => {
    const both = [goldenPath('images/rgb_58x31.png'), goldenPath('images/tall_4x800.png')];
    const images = await Promise.all(both.map((path) => quick.process(path)));
    const apart = await Promise.all(images.map((image) => quick.rows([image])));
    expect(await quick.rows(images)).toEqual(Float32Array.from(apart.flatMap((rows) => [...rows])));
    expect(await quick.rows([])).toHaveLength(0);
  });

  it('keeps a picture until its file changes', async () => {
    const path = join(folder(), 'picture.png');
    writeFileSync(path, (await asPng(formulas.ramp(64, 64))).bytes);
    const [first, second] = await Promise.all([quick.process(path), quick.process(path)]);
    expect(second).toBe(first);
    expect(await quick.process(path)).toBe(first);
    writeFileSync(path, (await asPng(formulas.soft(64, 64))).bytes);
    utimesSync(path, new Date(), new Date(0));
    expect((await quick.process(path)).pixels).toEqual(formulas.soft(64, 64).pixels);
  });

  it('forgets the least recently used beyond its bytes', async () => {
    const dir = folder();
    const paths = await Promise.all(
      [1, 2, 3].map(async (k) => {
        const path = join(dir, `${k}.png`);
        writeFileSync(path, (await asPng(formulas.ramp(64, 64, k))).bytes);
        return path;
      }),
    );
    const processor = createImageProcessor(settingsOf('quick'), { cacheBytes: 2 * 64 * 64 * 3 });
    const made: ProcessedImage[] = [];
    for (const path of [paths[0]!, paths[1]!, paths[0]!, paths[2]!]) made.push(await processor.process(path));
    expect(await processor.process(paths[0]!)).toBe(made[0]);
    expect(await processor.process(paths[2]!)).toBe(made[3]);
    expect(await processor.process(paths[1]!)).not.toBe(made[1]);
    const none = createImageProcessor(settingsOf('quick'), { cacheBytes: 0 });
    expect(await none.process(paths[0]!)).not.toBe(await none.process(paths[0]!));
  });

  it.each<[string, () => Promise<string | { bytes: Uint8Array; name: string }>, RegExp]>([
    ['missing', async () => '/nowhere/cat.png', /^\/nowhere\/cat\.png: no such file/],
    ['a folder', async () => goldenPath('images'), /images: .*EISDIR/],
    ['empty', async () => ({ name: 'row 3', bytes: new Uint8Array() }), /^row 3: the file is empty/],
    ['text', async () => goldenPath('checkpoints/tiny/merges.txt'), /merges\.txt: truncated, corrupt or not an image/],
    [
      'an SVG',
      async () => ({
        name: 'a.svg',
        bytes: Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
      }),
      /format must be one of .*got svg/,
    ],
    [
      'half a PNG',
      async () => ({ name: 'half.png', bytes: (await asPng(formulas.noise(64, 64, 'half'))).bytes.subarray(0, 5000) }),
      /^half\.png: truncated/,
    ],
    [
      'half a JPEG',
      async () => ({
        name: 'half.jpg',
        bytes: readFileSync(goldenPath('images/progressive_180x244.jpg')).subarray(0, 2000),
      }),
      /^half\.jpg: truncated/,
    ],
    [
      'too narrow',
      async () => asPng(formulas.ramp(1, 201), 'strip.png'),
      /^strip\.png: 201×1 has an aspect ratio of 201/,
    ],
  ])('%s', async (_, source, message) => {
    const error = await rejectionOf(quick.process(await source()));
    expect(error.code).toBe('INVALID_IMAGE');
    expect(error.message).toMatch(message);
  });

  it('refuses a small file of an enormous picture without decoding it', async () => {
    const bomb = await sharp(Buffer.alloc(20_000 * 10_000), {
      raw: { width: 20_000, height: 10_000, channels: 1 },
      limitInputPixels: false,
    })
      .png()
      .toBuffer();
    const error = await rejectionOf(quick.process({ name: 'bomb.png', bytes: bomb }));
    expect(error.message).toMatch(/^bomb\.png: 20000×10000 is 200000000 pixels; the limit is 178956970/);
    const strict = createImageProcessor(settingsOf('quick'), { decodeLimitPixels: 1000 });
    expect((await rejectionOf(strict.process(goldenPath('images/rgb_58x31.png')))).message).toMatch(/limit is 1000/);
  });

  it('a failure is not kept', async () => {
    const path = join(folder(), 'late.png');
    writeFileSync(path, 'not yet');
    await rejectionOf(quick.process(path));
    writeFileSync(path, (await asPng(formulas.ramp(64, 64))).bytes);
    expect((await quick.process(path)).pixels).toEqual(formulas.ramp(64, 64).pixels);
  });
});
