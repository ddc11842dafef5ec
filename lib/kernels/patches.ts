/** A patch: its number in merge order, its row and column in a frame of h × w, and which temporal patch of which grid that is. */
export interface Patch {
  index: number;
  grid: number;
  frame: number;
  row: number;
  column: number;
  h: number;
  w: number;
}

/** All patches of all grids in merge order: frame by frame, block by block of merge × merge, row by row inside a block. */
export function* patchesOf(grids: Int32Array, merge: number): Generator<Patch> {
  let index = 0;
  for (let grid = 0; grid < grids.length / 3; grid++) {
    const [t, h, w] = grids.subarray(3 * grid, 3 * grid + 3) as unknown as [number, number, number];
    for (let frame = 0; frame < t; frame++)
      for (let blockRow = 0; blockRow < h / merge; blockRow++)
        for (let blockColumn = 0; blockColumn < w / merge; blockColumn++)
          for (let inRow = 0; inRow < merge; inRow++)
            for (let inColumn = 0; inColumn < merge; inColumn++) {
              const [row, column] = [blockRow * merge + inRow, blockColumn * merge + inColumn];
              yield { index: index++, grid, frame, row, column, h, w };
            }
  }
}
