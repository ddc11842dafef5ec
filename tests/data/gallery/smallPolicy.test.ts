import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { writeSmallPolicy } from '../../../lib/data/gallery/index.ts';
import { Policy } from '../../../lib/model/qwen3vl/policy.ts';

it('writes an untrained policy that loads, reads a prompt and predicts nearly evenly', async () => {
  const dir = join(mkdtempSync(join(tmpdir(), 'g2rpo-')), 'policy');
  const count = await writeSmallPolicy(dir, { seed: 3 });
  expect(count).toBeLessThan(5e6);
  const policy = await Policy.load(dir);
  const prompt = await policy.encode([{ type: 'text', text: 'Colour of the shape?' }]);
  const rows = Int32Array.of(prompt.inputIds.length - 1);
  const batch = {
    inputIds: prompt.inputIds,
    positionIds: prompt.positionIds,
    segmentStarts: Int32Array.of(0, prompt.inputIds.length),
    segmentPrefix: Int32Array.of(-1),
    images: [],
    visualRows: prompt.visualRows,
    visualSource: new Int32Array(),
    targetRows: rows,
    targetIds: Int32Array.of(0),
  };
  const { entropy } = await policy.forward(batch);
  expect(entropy[0]!).toBeGreaterThan(0.9 * Math.log(policy.config.text.vocab));
  policy.dispose();
});
