import { G2rpoError, wantList, wantObject } from '../../runtime/errors.ts';
import type { ModelConfig } from './config.ts';

/** Patches of a picture or clip before merging: temporal patches, rows, columns. */
export type GridThw = readonly [t: number, h: number, w: number];

export interface Positions {
  /** rows T, H, W of S positions each, one after the other */
  positionIds: Int32Array;
  /** what the index of a token generated later lacks to its position; the same on all three axes */
  ropeDelta: number;
}

/**
 * Positions of the tokens of one unpadded sequence on the three rotary axes.
 *
 *   a text token at cursor p gets (p, p, p), and p advances by 1
 *   token (r, c) of a visual span gets (p, p + r, p + c), and p advances by max(rows, columns) after its last
 *   ropeDelta = p after the last token − number of tokens
 *
 * Every temporal patch of a video is a span of its own; time is in the text between them. Positions neither rise strictly
 * nor stay below the length, and ropeDelta is usually negative.
 *
 * @param grids in order of appearance, images and videos apart
 * @throws INVALID_PROMPT  placeholders and grids disagree
 */
export function positionsOf(
  inputIds: ArrayLike<number>,
  grids: { images: readonly GridThw[]; videos: readonly GridThw[] },
  { ids, vision }: Pick<ModelConfig, 'ids' | 'vision'>,
): Positions {
  wantList('prompt', 'inputIds', inputIds);
  wantObject('prompt', 'grids', grids);
  const size = inputIds.length;
  for (const kind of ['images', 'videos'] as const) {
    wantList('prompt', `grids.${kind}`, grids[kind]);
    grids[kind].forEach((grid, i) => wantList('prompt', `grids.${kind}[${i}]`, grid));
  }
  const positionIds = new Int32Array(3 * size);
  const media = {
    image: { id: ids.image, spans: spansOf(grids.images), count: grids.images.length, used: 0 },
    video: { id: ids.video, spans: spansOf(grids.videos), count: grids.videos.reduce((n, [t]) => n + t, 0), used: 0 },
  };
  let cursor = 0;
  for (let i = 0; i < size;) {
    const kind = inputIds[i] === ids.image ? 'image' : inputIds[i] === ids.video ? 'video' : undefined;
    if (!kind) {
      positionIds[i] = positionIds[size + i] = positionIds[2 * size + i] = cursor++;
      i++;
      continue;
    }
    const { id, spans, count } = media[kind];
    const grid = spans.next().value;
    media[kind].used++;
    if (!grid) throw mismatch(`${kind} placeholder at token ${i} belongs to no grid; there are ${count}`, { token: i });
    const [rows, columns] = [grid[1] / vision.merge, grid[2] / vision.merge];
    for (let token = 0; token < rows * columns; token++, i++) {
      if (inputIds[i] !== id)
        throw mismatch(`a ${kind} of grid [${grid.join(', ')}] needs ${rows * columns} placeholders; got ${token}`, {
          token: i,
        });
      positionIds[i] = cursor;
      positionIds[size + i] = cursor + Math.floor(token / columns);
      positionIds[2 * size + i] = cursor + (token % columns);
    }
    cursor += Math.max(rows, columns);
  }
  for (const [kind, { used, count }] of Object.entries(media)) {
    const left = count - used;
    if (left > 0) throw mismatch(`${left} of ${count} ${kind} grids have no placeholders`, { kind, left });
  }
  return { positionIds, ropeDelta: cursor - size };
}

/** Every temporal patch by itself: of a picture there is one. */
function* spansOf(grids: readonly GridThw[]): Generator<GridThw, undefined> {
  for (const [t, h, w] of grids) for (let k = 0; k < t; k++) yield [1, h, w];
}

function mismatch(message: string, details: Record<string, unknown>): G2rpoError {
  return new G2rpoError('INVALID_PROMPT', `prompt: ${message}`, details);
}
