import type { PolicyBatch } from '../../lib/model/qwen3vl/policy.ts';

const LENGTH = 200;

/** Texts of 200 tokens each, of which all but the first are targets. */
export function manyRows(rows: number): PolicyBatch {
  const texts = rows / LENGTH;
  const inputIds = Int32Array.from({ length: rows }, (_, i) => 5 + ((i * 7) % 200));
  const targetRows = Int32Array.from(inputIds.keys()).filter((i) => i % LENGTH !== LENGTH - 1);
  return {
    inputIds,
    positionIds: Int32Array.from({ length: 3 * rows }, (_, i) => i % LENGTH), // rows are a multiple of the length
    segmentStarts: Int32Array.from({ length: texts + 1 }, (_, z) => z * LENGTH),
    segmentPrefix: new Int32Array(texts).fill(-1),
    visualRows: new Int32Array(0),
    visualSource: new Int32Array(0),
    images: [],
    targetRows,
    targetIds: targetRows.map((r) => inputIds[r + 1]!),
  };
}
