import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseModelConfig } from '../../lib/model/qwen3vl/config.ts';
import type { NamedTensor } from '../../lib/model/qwen3vl/writeCheckpoint.ts';
import { syntheticTensors as tensorsOf, writeSynthetic } from '../../scripts/golden/model/weights.ts';
import { goldenJson, goldenPath } from './goldenModel.ts';

export { syntheticTensor } from '../../scripts/golden/model/weights.ts';
export type GoldenCheckpoint = 'tiny' | 'tiny-untied' | 'nano';

const configOf = (checkpoint: GoldenCheckpoint) => {
  const file = `checkpoints/${checkpoint}/config.json`;
  return parseModelConfig(goldenJson(file), file);
};

/** All golden weights of a checkpoint, in file order. */
export const syntheticTensors = (checkpoint: GoldenCheckpoint): Generator<NamedTensor> =>
  tensorsOf(configOf(checkpoint));

/** Writes a golden checkpoint with its weights into a new temporary folder and returns the path of the checkpoint. */
export async function writeGoldenCheckpoint(
  checkpoint: GoldenCheckpoint,
  options: { dtype?: 'bfloat16' | 'float32'; maxShardBytes?: number } = {},
): Promise<string> {
  const dir = join(mkdtempSync(join(tmpdir(), 'g2rpo-')), checkpoint);
  await writeSynthetic(dir, goldenPath(`checkpoints/${checkpoint}`), configOf(checkpoint), options);
  return dir;
}
