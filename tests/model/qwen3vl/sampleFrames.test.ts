import { describe, expect, it } from 'vitest';
import { sampleFrames, timestampsOf } from '../../../lib/model/qwen3vl/sampleFrames.ts';
import { thrownBy } from '../../support/thrown.ts';

const rule = { fps: 2, minFrames: 4, maxFrames: 768 };

describe('frames that are taken', () => {
  it('are spread from the first to the last, ties to even', () => {
    expect(sampleFrames({ total: 100, fps: 30, numFrames: 7 }, rule)).toEqual([0, 16, 33, 50, 66, 82, 99]);
  });

  it('are even in number where frames are sized one by one', () => {
    const frame = { ...rule, sizing: 'frame' as const };
    const count = (total: number, fps: number) => sampleFrames({ total, fps }, frame).length;
    expect([count(9, 2), count(3, 2), count(1, 2), count(100, 3), count(3000, 1)]).toEqual([8, 2, 0, 66, 768]);
    expect(sampleFrames({ total: 9, fps: 2, numFrames: 5 }, frame)).toEqual([0, 3, 5, 8]);
  });

  it('are one if there is one', () => {
    expect(sampleFrames({ total: 1, fps: 30 }, rule)).toEqual([0]);
    expect(sampleFrames({ total: 9, fps: 30, numFrames: 1 }, rule)).toEqual([0]);
  });

  it('are at least and at most as many as the rule says, and no more than there are', () => {
    expect(sampleFrames({ total: 40, fps: 1000 }, rule)).toHaveLength(4);
    expect(sampleFrames({ total: 4000, fps: 0.001 }, rule)).toHaveLength(768);
    expect(sampleFrames({ total: 400, fps: 1 }, { ...rule, maxFrames: 12 })).toHaveLength(12);
    expect(sampleFrames({ total: 3, fps: 1 }, rule)).toHaveLength(3);
  });

  it.each([0, -1, NaN, Infinity, undefined, '2'])('not at %s per second', (fps) => {
    const error = thrownBy(() => sampleFrames({ total: 8, fps: fps as number }, rule, 'clip'));
    expect(error.code).toBe('INVALID_VIDEO');
    expect(error.message).toBe(`clip: fps must be a positive number; got ${String(fps)}`);
  });

  it.each([0, 9, 1.5, NaN])('not %s of 8', (numFrames) => {
    const { message } = thrownBy(() => sampleFrames({ total: 8, fps: 2, numFrames }, rule, 'clip'));
    expect(message).toBe(`clip: numFrames must be a whole number from 1 to 8, of 8 frames; got ${numFrames}`);
  });

  it('not more than the rule allows', () => {
    const { message } = thrownBy(() => sampleFrames({ total: 4000, fps: 2, numFrames: 769 }, rule, 'clip'));
    expect(message).toBe('clip: numFrames must be a whole number from 1 to 768, of 4000 frames; got 769');
  });
});

describe('times', () => {
  it('have one decimal of the binary value, ties to even', () => {
    const said = (seconds: number) => timestampsOf([0, 2], 1 / seconds, 2)[0];
    expect([0.25, 0.75, 1.25, 1.75, 2.25].map(said)).toEqual(
      ['0.2', '0.8', '1.2', '1.8', '2.2'].map((text) => `<${text} seconds>`),
    );
    expect([0.05, 0.15, 0.35, 1.05].map(said)).toEqual(['0.1', '0.1', '0.3', '1.1'].map((text) => `<${text} seconds>`));
  });

  it('repeat the last frame where frames run out', () => {
    expect(timestampsOf([0, 1, 2], 1, 2)).toEqual(['<0.5 seconds>', '<2.0 seconds>']);
  });
});
