// Pictures and videos as bytes, of which the policy makes rows, beside rows that were made before.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ProcessedImage } from '../../../lib/model/qwen3vl/imageProcessor.ts';
import { Policy, type PolicyBatch } from '../../../lib/model/qwen3vl/policy.ts';
import { likelihood } from '../../../lib/train/likelihood.ts';
import { formulas } from '../../../scripts/golden/model/pictures.ts';
import { frameFolder } from '../../support/frames.ts';
import { mixedBatch } from '../../support/mixedBatch.ts';
import { rejectionOf } from '../../support/thrown.ts';
import { writeGoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';

type Shown = PolicyBatch['images'];
let dir: string;
beforeAll(async () => (dir = await writeGoldenCheckpoint('nano')));

const pictureOf = ({ config: { vision } }: Policy, h: number, w: number, name: string): ProcessedImage => {
  const [height, width] = [h * vision.patch, w * vision.patch];
  const { pixels } = formulas.noise(height, width, name);
  return { pixels, height, width, gridThw: [1, h, w], visualTokens: (h * w) / 4 };
};

describe.each(['f32', 'f64'] as const)('in %s', (dtype) => {
  let policy: Policy;
  beforeAll(async () => (policy = await Policy.load(dir, { dtype })));
  afterAll(() => policy.dispose());

  it('features of pictures and videos, in any order, are those of their rows', async () => {
    const { imageProcessor, videoProcessor } = policy;
    const frames = await frameFolder({ '1.png': 10, '2.png': 200, '3.png': 90 });
    const video = await videoProcessor!.process({ frames, fps: 2, numFrames: 3 });
    const pictures = [pictureOf(policy, 2, 4, 'a'), pictureOf(policy, 6, 2, 'b'), pictureOf(policy, 4, 4, 'c')];
    const [a, b, c] = await Promise.all(
      pictures.map(async (image) => ({ rows: await imageProcessor.rows([image]), gridThw: image.gridThw })),
    );
    const rows = new Float32Array(video.gridThw.reduce((x, y) => x * y) * 6 * policy.config.vision.patch ** 2);
    await videoProcessor!.writeRows(video, rows);
    const wanted: Shown = [a!, b!, { rows, gridThw: video.gridThw }, c!];
    const given: Shown = [pictures[0]!, b!, video, pictures[2]!];
    expect(await policy.features(given)).toEqual(await policy.features(wanted));
    expect(await policy.features([...pictures, video])).toEqual(
      await policy.features([a!, b!, c!, { rows, gridThw: video.gridThw }]),
    );
  });

  it('gradients of pixels are those of their rows', async () => {
    const batch = mixedBatch('nano', ['image_one'], policy.config);
    const images = batch.images.map(({ gridThw: [, h, w] }, k) => pictureOf(policy, h, w, `${k}`));
    const gradients = async (shown: Shown) => {
      policy.zeroGradients();
      await policy.forwardBackward({ ...batch, images: shown }, likelihood(batch.targetIds.length));
      const all = policy.trained.map(async ({ gradient }) => Buffer.from((await gradient!.read()).buffer));
      return Buffer.concat(await Promise.all(all));
    };
    const rows = await Promise.all(
      images.map(async (image) => ({ rows: await policy.imageProcessor.rows([image]), gridThw: image.gridThw })),
    );
    expect((await gradients(images)).equals(await gradients(rows))).toBe(true);
  });

  it('pixels and lists are those of the call, whatever happens to them next', async () => {
    const images = [pictureOf(policy, 4, 2, 'x')];
    const before = await policy.features(images);
    const pending = policy.features(images);
    images[0]!.pixels.fill(0);
    expect(await pending).toEqual(before);
    expect(await policy.features(images)).not.toEqual(before);
  });

  it('what is not what it says is refused', async () => {
    const image = pictureOf(policy, 4, 2, 'x');
    for (const [pixels, message] of [
      [new Float32Array(image.pixels), /images\[0\]\.pixels must be a Uint8Array; got /],
      [image.pixels.subarray(1), /images\[0\]\.pixels must be the \d+ of its grid \[1, 4, 2\]/],
    ] as const)
      expect((await rejectionOf(policy.features([{ ...image, pixels: pixels as never }]))).message).toMatch(message);
    const video = { ...image, frames: 1, timestamps: ['0'] };
    for (const [shown, message] of [
      [
        { ...video, gridThw: [2, 4, 2] as const },
        /images\[0\]\.gridThw must begin with 1, of 1 frames; got \[2, 4, 2\]/,
      ],
      [{ ...image, gridThw: [65_536, 4, 2] as const }, /images\[0\]\.gridThw must begin with 1/],
      [{ ...video, frames: NaN }, /images\[0\]\.frames must be a whole number from 1; got NaN/],
      [{ ...video, frames: 0.5 }, /images\[0\]\.frames must be a whole number from 1; got 0.5/],
    ] as const)
      expect((await rejectionOf(policy.features([shown]))).message).toMatch(message);
  });

  it('a Buffer over shared memory is read as any other', async () => {
    const image = pictureOf(policy, 4, 2, 'x');
    const shared = Buffer.from(new SharedArrayBuffer(image.pixels.length));
    shared.set(image.pixels);
    expect(await policy.features([{ ...image, pixels: shared }])).toEqual(await policy.features([image]));
  });

  it('a prompt whose picture lies does no harm to one that is sampled', async () => {
    const image = pictureOf(policy, 4, 2, 'x');
    const prompt = {
      inputIds: new Int32Array(5).fill(7),
      positionIds: Int32Array.from({ length: 15 }, (_, i) => i % 5),
      visualRows: Int32Array.of(1, 2),
      ropeDelta: 0,
      images: [image],
    } as unknown as Parameters<Policy['submit']>[0]['prompt'];
    const wanted = await policy.submit({ prompt, maxTokens: 20, temperature: 0, stopIds: [] });
    const good = policy.submit({ prompt, maxTokens: 20, temperature: 0, stopIds: [] });
    const lying = {
      ...prompt,
      images: [{ ...image, gridThw: [2, 4, 2] as const }],
      visualRows: Int32Array.of(0, 1, 2, 3),
    };
    const bad = policy.submit({ prompt: lying, maxTokens: 4 });
    expect((await rejectionOf(bad)).message).toMatch(/images\[0\]\.gridThw must begin with 1/);
    expect(await good).toEqual(wanted);
  });
});
