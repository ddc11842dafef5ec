import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '../../../lib/model/qwen3vl/config.ts';
import { positionsOf, type GridThw } from '../../../lib/model/qwen3vl/positions.ts';
import { goldenJson } from '../../support/goldenModel.ts';
import { thrownBy } from '../../support/thrown.ts';

interface Layout {
  input_ids_rle: [number, number][];
  length: number;
  image_grid_thw: GridThw[];
  video_grid_thw: GridThw[];
  position_ids: number[][];
  rope_delta: number;
}
interface Golden {
  special: { image_pad: number; video_pad: number; vision_start: number; vision_end: number };
  cases: Layout[];
}

const tiny = parseModelConfig(goldenJson('checkpoints/tiny/config.json'), 'config.json');
const { special, cases } = goldenJson<Golden>('cases/positions.json');
const released = {
  ...tiny,
  ids: {
    ...{ image: special.image_pad, video: special.video_pad },
    ...{ visionStart: special.vision_start, visionEnd: special.vision_end },
  },
};

describe('golden layouts', () => {
  it.each(cases.map((layout, k) => [k, layout] as const))('%i', (_, layout) => {
    const ids = layout.input_ids_rle.flatMap(([id, count]) => new Array<number>(count).fill(id));
    expect(ids).toHaveLength(layout.length);
    const grids = { images: layout.image_grid_thw, videos: layout.video_grid_thw };
    const { positionIds, ropeDelta } = positionsOf(ids, grids, released);
    expect([...positionIds]).toEqual(layout.position_ids.flat());
    expect(ropeDelta).toBe(layout.rope_delta);
  });

  it.each(['tiny', 'nano'])('sequences of the model cases of %s', (name) => {
    interface Sequence extends Omit<Layout, 'input_ids_rle'> {
      input_ids: number[];
    }
    const config = parseModelConfig(goldenJson(`checkpoints/${name}/config.json`), name);
    for (const file of ['image_one', 'video_ts', 'mixed', 'batch4'])
      for (const sequence of goldenJson<{ sequences: Sequence[] }>(`cases/${name}/${file}.json`).sequences) {
        const grids = { images: sequence.image_grid_thw, videos: sequence.video_grid_thw };
        const { positionIds, ropeDelta } = positionsOf(sequence.input_ids, grids, config);
        expect([...positionIds]).toEqual(sequence.position_ids.flat());
        expect(ropeDelta).toBe(sequence.rope_delta);
      }
  });
});

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
