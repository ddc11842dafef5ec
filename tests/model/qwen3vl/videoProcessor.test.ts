import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { VideoSource } from '../../../lib/model/qwen3vl/chatTemplate.ts';
import { parseModelConfig } from '../../../lib/model/qwen3vl/config.ts';
import { createVideoProcessor, loadVideoProcessor } from '../../../lib/model/qwen3vl/videoProcessor.ts';
import { videoSize } from '../../../lib/model/qwen3vl/videoSize.ts';
import { parseVideoSettings } from '../../../lib/model/qwen3vl/videoSettings.ts';
import { frameFolder, plainPng } from '../../support/frames.ts';
import { goldenJson, goldenPath, testGolden } from '../../support/goldenModel.ts';
import { rejectionOf, thrownBy } from '../../support/thrown.ts';

const tiny = parseModelConfig(goldenJson('checkpoints/tiny/config.json'), 'tiny');
const json = goldenJson<object>('checkpoints/tiny/video_preprocessor_config.json');
const settings = parseVideoSettings(json, 'file', tiny);
const processor = createVideoProcessor(settings);
const emptyFolder = () => mkdtempSync(join(tmpdir(), 'g2rpo-frames-'));

testGolden('cases/videos.json');

describe('settings', () => {
  it('stand in the file, what is said beside it takes precedence', async () => {
    expect(settings).toMatchObject({ minPixels: 4096, maxPixels: 262144, fps: 2, minFrames: 4, maxFrames: 768 });
    const loaded = await loadVideoProcessor(goldenPath('checkpoints/tiny'), tiny, { maxFrames: 6, fps: 1 });
    expect(loaded!.settings).toMatchObject({ maxFrames: 6, fps: 1, outerPair: false, maxPixels: 262144 });
    expect(await loadVideoProcessor(emptyFolder(), tiny)).toBeUndefined();
  });

  it('are refused with all problems at once', () => {
    const { code, message } = thrownBy(() => parseVideoSettings({ ...json, fps: 0, min_frames: 9, max_frames: 4, patch_size: 14 }, 'f', tiny)); // prettier-ignore
    expect(code).toBe('INVALID_CHECKPOINT');
    expect(message).toMatch(/^f: patch_size is 14, but the model has 16; fps must be a positive number; got 0; min_frames must be at most max_frames$/); // prettier-ignore
  });

  it.each([
    [{ maxPixels: 100 }, /maxPixels at least that and 2048; got 4096 and 100/],
    [{ fps: NaN }, /fps must be a positive number; got NaN/],
    [{ maxFrames: 1, minFrames: 1 }, /maxFrames at least that and 2; got 1 and 1/],
  ])('no video could meet %o', (options, message) => {
    expect(thrownBy(() => createVideoProcessor(settings, options)).message).toMatch(message);
  });
});

describe('sizes of frames one by one, as in qwen-vl-utils', () => {
  const limits = {
    factor: 32,
    temporalPatch: 2,
    sizing: 'frame',
    minPixels: 128 * 1024,
    maxPixels: 768 * 1024,
  } as const;
  it.each([
    [16, 720, 1280, {}, [640, 1152]],
    [768, 720, 1280, {}, [384, 736]], // the share of a frame is 300 visual tokens
    [2, 20, 64, {}, [224, 672]],
    [128, 720, 1280, { minPixels: 4096, maxPixels: 65536 }, [192, 320]], // as the released code has it
    [8, 20, 64, { minPixels: 1, maxPixels: 65536 }, [32, 64]],
  ])('%i of %i×%i with %o', (frames, height, width, more, [h, w]) => {
    expect(videoSize({ frames, height, width }, { ...limits, ...more })).toEqual({ height: h, width: w });
  });

  it('are of the policy, not of the file', async () => {
    const each = createVideoProcessor(settings, { sizing: 'frame' });
    expect(each.settings).toMatchObject({ minPixels: 128 * 1024, maxPixels: 768 * 1024 });
    const { gridThw } = await each.process({
      frames: await frameFolder({ '1.png': 1, '2.png': 2, '3.png': 3 }),
      fps: 2,
    });
    expect(gridThw).toEqual([1, 16, 32]); // 2 of 3 frames
    const one = await rejectionOf(each.process({ frames: await frameFolder({ '1.png': 1 }), fps: 2 }));
    expect(one.message).toMatch(/needs at least 2 frames; got 1$/);
  });
});

describe('a folder of frames', () => {
  const levels = { 'f1.png': 10, 'f2.png': 20, 'f9.png': 90, 'f10.png': 100, 'f11.png': 110 };
  const levelOf = (pixels: Uint8Array, frame: number) => pixels[frame * 64 * 32 * 3];

  it('is taken by name, numbers by their value, other files left alone', async () => {
    const frames = await frameFolder(levels);
    writeFileSync(join(frames, 'notes.txt'), '');
    writeFileSync(join(frames, '.hidden.png'), '');
    const { pixels, gridThw, timestamps, visualTokens } = await processor.process({ frames, fps: 2 });
    expect([0, 1, 2, 3, 4].map((k) => levelOf(pixels, k))).toEqual([10, 20, 90, 100, 110]);
    expect(gridThw).toEqual([3, 2, 4]);
    expect(visualTokens).toBe(6);
    expect(timestamps).toEqual(['<0.2 seconds>', '<1.2 seconds>', '<2.0 seconds>']);
  });

  it('fills the last temporal patch with its last frame', async () => {
    const video = await processor.process({ frames: await frameFolder(levels), fps: 2 });
    const rows = new Float32Array(3 * 2 * 4 * 3 * 2 * 16 ** 2);
    await processor.writeRows(video, rows);
    const levelAt = (patch: number, time: number) => Math.round(rows[patch * 8 * 1536 + time * 256]! * 127.5 + 127.5);
    expect([0, 1, 2].map((p) => [levelAt(p, 0), levelAt(p, 1)])).toEqual([[10, 20], [90, 100], [110, 110]]); // prettier-ignore
  });

  it('is kept until a frame changes', async () => {
    const frames = await frameFolder(levels);
    const first = await processor.process({ frames, fps: 2 });
    expect(await processor.process({ frames, fps: 2 })).toBe(first);
    expect((await processor.process({ frames, fps: 2.5 })).timestamps).not.toEqual(first.timestamps);
    expect((await processor.process({ frames, fps: 2, numFrames: 2 })).gridThw).toEqual([1, 2, 4]);
    writeFileSync(join(frames, 'f9.png'), await plainPng(91));
    expect(levelOf((await processor.process({ frames, fps: 2 })).pixels, 2)).toBe(91);
  });

  it('may be a list of files and bytes, in its own order', async () => {
    const dir = await frameFolder(levels);
    const frames = [join(dir, 'f10.png'), { name: 'b', bytes: await plainPng(7) }, join(dir, 'f1.png')];
    const { pixels } = await processor.process({ frames, fps: 1, numFrames: 3 });
    expect([0, 1, 2].map((k) => levelOf(pixels, k))).toEqual([100, 7, 10]);
  });
});

describe('refusals', () => {
  const two = { 'a.png': 1, 'b.png': 2 };
  it.each<[string, () => Promise<VideoSource>, string, RegExp]>([
    ['no folder', async () => ({ frames: '/nowhere/clip', fps: 2 }), 'INVALID_VIDEO', /^\/nowhere\/clip: no such folder of frames$/], // prettier-ignore
    ['an empty folder', async () => ({ frames: emptyFolder(), fps: 2 }), 'INVALID_VIDEO', /must hold pictures \(\.png, \.jpg, …\); got none in 0 files$/], // prettier-ignore
    ['an empty list', async () => ({ frames: [], fps: 2 }), 'INVALID_VIDEO', /^video: the list of frames is empty$/],
    ['no frames', async () => ({ fps: 2 }) as unknown as VideoSource, 'INVALID_VIDEO', /frames must be a folder or a list of pictures; got undefined/], // prettier-ignore
    ['one frame', async () => ({ frames: await frameFolder({ 'a.png': 1 }), fps: 2 }), 'INVALID_VIDEO', /needs at least 2 frames; got 1$/], // prettier-ignore
    ['fps of 0', async () => ({ frames: await frameFolder(two), fps: 0 }), 'INVALID_VIDEO', /fps must be a positive number; got 0$/], // prettier-ignore
    ['fps of NaN', async () => ({ frames: await frameFolder(two), fps: NaN }), 'INVALID_VIDEO', /fps must be a positive number; got NaN$/], // prettier-ignore
    ['more frames than there are', async () => ({ frames: await frameFolder(two), fps: 2, numFrames: 3 }), 'INVALID_VIDEO', /numFrames must be a whole number from 1 to 2, of 2 frames; got 3$/], // prettier-ignore
    ['narrow frames', async () => ({ frames: await frameFolder(two, 201 * 32, 32), fps: 2 }), 'INVALID_VIDEO', /frames of 6432×32 have an aspect ratio of 201/], // prettier-ignore
  ])('%s', async (_, source, code, message) => {
    const error = await rejectionOf(processor.process(await source()));
    expect(error.message).toMatch(message);
    expect(error.code).toBe(code);
  });

  it('a file of a video, with what to do instead', async () => {
    const clip = join(emptyFolder(), 'clip.mp4');
    writeFileSync(clip, 'ftyp');
    const { code, message } = await rejectionOf(processor.process({ frames: clip, fps: 2 }));
    expect(code).toBe('INVALID_VIDEO');
    expect(message).toBe(`${clip}: video files are not decoded; extract its frames, as with: ffmpeg -i clip.mp4 -vf fps=2 FOLDER/%05d.png`); // prettier-ignore
  });

  it('frames of several sizes, by their names', async () => {
    const frames = await frameFolder(two);
    writeFileSync(join(frames, 'b.png'), await plainPng(2, 32, 32));
    const { code, message } = await rejectionOf(processor.process({ frames, fps: 2 }));
    expect(code).toBe('INVALID_VIDEO');
    expect(message).toBe(`${frames}: frames must be of one size; ${frames}/a.png is 64×32, ${frames}/b.png is 32×32`);
  });

  it('a broken frame, by its name, though others are whole', async () => {
    const frames = await frameFolder({ ...two, 'c.png': 3, 'd.png': 4 });
    writeFileSync(join(frames, 'c.png'), (await plainPng(3)).subarray(0, 60));
    const { code, message } = await rejectionOf(processor.process({ frames, fps: 2 }));
    expect(code).toBe('INVALID_IMAGE');
    expect(message).toMatch(/^\/.*\/c\.png: truncated, corrupt or not an image/);
  });
});
