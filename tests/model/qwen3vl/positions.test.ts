import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '../../../lib/model/qwen3vl/config.ts';
import { positionsOf, type GridThw } from '../../../lib/model/qwen3vl/positions.ts';
import { goldenJson, testGolden } from '../../support/goldenModel.ts';
import { thrownBy } from '../../support/thrown.ts';

const tiny = parseModelConfig(goldenJson('checkpoints/tiny/config.json'), 'config.json');

testGolden('cases/positions.json');

describe('edges', () => {
  it('text alone counts up, and so does nothing', () => {
    expect(positionsOf([5, 6], { images: [], videos: [] }, tiny)).toEqual({
      positionIds: Int32Array.of(0, 1, 0, 1, 0, 1),
      ropeDelta: 0,
    });
    expect(positionsOf([], { images: [], videos: [] }, tiny).positionIds).toHaveLength(0);
  });

  const { image, video } = tiny.ids;
  it.each<[string, number[], GridThw[], GridThw[], RegExp]>([
    ['no grid', [1, image], [], [], /image placeholder at token 1 belongs to no grid; there are 0/],
    ['too few placeholders', [image, 1], [[1, 2, 4]], [], /grid \[1, 2, 4\] needs 2 placeholders; got 1/],
    ['the end of the prompt', [image], [[1, 2, 4]], [], /needs 2 placeholders; got 1/],
    ['too many', [image, image, image], [[1, 2, 4]], [], /at token 2 belongs to no grid; there are 1/],
    [
      'a grid left over',
      [image],
      [
        [1, 2, 2],
        [1, 2, 2],
      ],
      [],
      /1 of 2 image grids have no placeholders/,
    ],
    ['the other kind', [video], [[1, 2, 2]], [], /video placeholder at token 0 belongs to no grid/],
    ['a temporal patch missing', [video], [], [[2, 2, 2]], /1 of 2 video grids have no placeholders/],
  ])('%s', (_, ids, images, videos, message) => {
    const error = thrownBy(() => positionsOf(ids, { images, videos }, tiny));
    expect(error.code).toBe('INVALID_PROMPT');
    expect(error.message).toMatch(message);
  });
});
