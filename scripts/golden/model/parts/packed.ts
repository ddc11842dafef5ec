import type { Policy } from '../../../../lib/index.ts';
import { boundsFor } from '../bounds.ts';
import type { Checks } from '../checks.ts';
import { packSequences, type GoldenSequence } from '../sequences.ts';
import { integers } from '../values.ts';
import { compareLogits, compareTargets } from './sequence.ts';

/** Sequences one behind the other in a batch: every value is that of the sequence alone. */
export async function checkPacked(
  policy: Policy,
  sequences: readonly GoldenSequence[],
  packed: { cu_seqlens: number[] },
  checks: Checks,
): Promise<void> {
  const bounds = boundsFor(policy.config.text.hidden);
  await checks.run('packed', async (check) => {
    const batch = packSequences(sequences, policy.config);
    check.same('packed.cu_seqlens', packed.cu_seqlens, batch.segmentStarts);
    const rows = sequences.flatMap((s, i) => s.logit_rows.map(({ row }) => row + batch.segmentStarts[i]!));
    const logits = await policy.logits(batch, integers('logit_rows.row', rows));
    compareLogits(sequences.flatMap((s) => s.logit_rows), logits, check, bounds); // prettier-ignore
    await compareTargets(policy, sequences, check, bounds);
  });
}
