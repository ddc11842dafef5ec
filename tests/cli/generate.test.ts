import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { frameFolder } from '../support/frames.ts';
import { productsRound } from '../support/onCpu.ts';
import { g2rpo } from '../support/g2rpo.ts';
import { goldenPath } from '../support/goldenModel.ts';
import { writeGoldenCheckpoint } from '../support/syntheticCheckpoint.ts';

let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'g2rpo-generate-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('generate', () => {
  let model: string;
  beforeAll(async () => void (model = await writeGoldenCheckpoint('tiny', { dtype: 'bfloat16' })));
  afterAll(() => rmSync(model, { recursive: true, force: true }));
  const ask = (...more: string[]) =>
    g2rpo(['generate', '--model', model, '--prompt', 'What is it?', '--max-tokens', '6', ...two(more), ...more]);
  const two = (more: string[]) => (more.includes('--n') ? [] : ['--n', '2']);

  it('writes one response a line, the same for the same seed', async () => {
    const image = goldenPath('images/palette_75x52.png');
    const first = await ask('--image', image, '--seed', '5');
    expect(first.code, first.stderr).toBe(0);
    expect(first.stdout.endsWith('\n')).toBe(true);
    expect(first.stderr).toMatch(/\d+ tokens, [\d.]+ per second/);
    expect((await ask('--image', image, '--seed', '5')).stdout).toBe(first.stdout);
    expect((await ask('--image', image, '--seed', '6')).stdout).not.toBe(first.stdout);
  });

  it('keeps matrices in bf16 where that is wanted: of a checkpoint stored so nothing changes', async () => {
    const wide = await ask('--seed', '5');
    const narrow = await ask('--seed', '5', '--weights', 'bf16');
    expect(narrow.code, narrow.stderr).toBe(0);
    if (!productsRound()) expect(narrow.stdout).toBe(wide.stdout);
    const wrong = await ask('--weights', 'f64');
    expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('--weights must be f32 or bf16; got f64') });
  });

  it.each([
    ['--n', '0', 'at least 1'],
    ['--max-tokens', '0', 'at least 1'],
    ['--temperature', '-1', 'at least 0'],
    ['--top-p', '2', 'above 0 and at most 1'],
    ['--top-k', '-1', 'at least 0'],
    ['--repetition-penalty', '0', 'above 0'],
  ])('refuses %s %s before anything is loaded', async (option, value, wanted) => {
    const { code, stderr } = await g2rpo(['generate', '--model', 'none', '--prompt', 'x', `${option}=${value}`]);
    expect(code).toBe(2);
    expect(stderr).toContain(`${option} must be ${wanted}; got ${value}`);
  });

  it('ends responses at texts', async () => {
    const { stdout } = await ask('--seed', '5', '--n', '1');
    const letter = [...stdout.trim()].find((each, i) => i > 0 && each !== '\uFFFD' && each !== stdout[0])!;
    const ended = await ask('--seed', '5', '--n', '1', '--stop', 'never said', '--stop', letter);
    expect(ended.code, ended.stderr).toBe(0);
    expect(stdout.startsWith(ended.stdout.trimEnd())).toBe(true);
    expect(ended.stdout).toContain(letter);
    expect(ended.stdout.length).toBeLessThan(stdout.length);
    expect(ended.stderr).not.toMatch(/cut at/);
    expect(await ask('--stop', '')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--stop must be a text'),
    });
  });

  it('reads videos, as fast as it is told', async () => {
    const video = await frameFolder({ '1.png': 0, '2.png': 80, '3.png': 160, '4.png': 240 });
    const slow = await ask('--video', video, '--fps', '2');
    expect(slow.code, slow.stderr).toBe(0);
    expect((await ask('--video', video, '--fps', '0.1')).stdout).not.toBe(slow.stdout);
    const missing = await ask('--video', video);
    expect(missing).toMatchObject({ code: 2, stderr: expect.stringContaining('--fps is missing') });
    const file = await ask('--video', join(video, '1.png'), '--fps', '2');
    expect(file.code).toBe(1);
    expect(file.stderr).toMatch(/INVALID_VIDEO.*1\.png: a video must be a folder of frames; got a file/);
  });

  it('says what is wrong with a picture or a prompt', async () => {
    expect(await ask('--image', join(dir, 'none.png'))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/INVALID_IMAGE.*none\.png/),
    });
    const surplus = await g2rpo(['generate', '--model', model, '--prompt', '<image> and <image>', '--image', 'a.png']);
    expect(surplus.stderr).toMatch(/INVALID_PROMPT/);
  });
});
