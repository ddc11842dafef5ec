import { positionsOf, type GridThw } from '../../../../lib/index.ts';
import type { Checks } from '../checks.ts';
import type { ModelFolder } from '../modelFolder.ts';
import { integers, onlyKeys } from '../values.ts';

interface GoldenPositions {
  special: { vision_start: number; vision_end: number; image_pad: number; video_pad: number };
  spatial_merge_size: number;
  cases: {
    input_ids_rle: [id: number, count: number][];
    length: number;
    image_grid_thw: GridThw[];
    video_grid_thw: GridThw[];
    position_ids: number[][];
    rope_delta: number;
  }[];
}

/** `cases/positions.json`: layouts with the ids of the releases. */
export async function positions(folder: ModelFolder, file: string, checks: Checks): Promise<void> {
  const { special, spatial_merge_size: merge, cases } = folder.json<GoldenPositions>(file);
  const { image_pad: image, video_pad: video, vision_start: visionStart, vision_end: visionEnd } = special;
  const layout = { ids: { image, video, visionStart, visionEnd }, vision: { merge } } as Parameters<
    typeof positionsOf
  >[2];
  for (const [k, golden] of cases.entries())
    await checks.run(`layout ${k}`, (check) => {
      onlyKeys('layout', golden, ['name', 'description', 'input_ids_rle', 'length', 'image_grid_thw', 'video_grid_thw', 'position_ids', 'rope_delta']); // prettier-ignore
      integers('input_ids_rle and grids', [...golden.input_ids_rle, ...golden.image_grid_thw, ...golden.video_grid_thw].flat()); // prettier-ignore
      const ids = golden.input_ids_rle.flatMap(([id, count]) => new Array<number>(count).fill(id));
      const grids = { images: golden.image_grid_thw, videos: golden.video_grid_thw };
      const { positionIds, ropeDelta } = positionsOf(ids, grids, layout);
      check.same('image_grid_thw: t', golden.image_grid_thw.map(([t]) => t), golden.image_grid_thw.map(() => 1)); // prettier-ignore
      check.same('length', golden.length, ids.length);
      check.same('position_ids', golden.position_ids.flat(), positionIds);
      check.same('rope_delta', golden.rope_delta, ropeDelta);
      const padded = (id: number | undefined) => id === image || id === video;
      ids.forEach((id, i) => {
        if (!padded(id)) return;
        if (!padded(ids[i - 1])) check.same(`before token ${i}`, visionStart, ids[i - 1]);
        if (!padded(ids[i + 1])) check.same(`after token ${i}`, visionEnd, ids[i + 1]);
      });
    });
}
