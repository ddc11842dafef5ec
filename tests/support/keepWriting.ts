/** A program to be killed: writes the checkpoint named by its argument again and again, weights all equal to the round. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseModelConfig } from '../../lib/model/qwen3vl/config.ts';
import { elementCount, tensorNames } from '../../lib/model/qwen3vl/tensorNames.ts';
import { sideFiles, writeCheckpoint } from '../../lib/model/qwen3vl/writeCheckpoint.ts';

const dir = process.argv[2]!;
const files = await sideFiles(dir);
const config = parseModelConfig(JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')), 'config.json');
for (let round = 1; ; round++) {
  const tensors = tensorNames(config).map(({ name, shape }) => {
    return { name, shape, data: new Float32Array(elementCount(shape)).fill(round % 100) };
  });
  await writeCheckpoint(dir, { files, tensors, maxShardBytes: 1e5 });
  process.stdout.write('.');
}
