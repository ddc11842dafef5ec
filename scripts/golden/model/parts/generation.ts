import type { Policy } from '../../../../lib/index.ts';
import { boundsFor, DIGITS } from '../bounds.ts';
import type { Checks } from '../checks.ts';
import { encodedPrompt, followedBy, packSequences, type GoldenPrompt } from '../sequences.ts';
import { integers } from '../values.ts';
import { checkLayout, statisticsOf } from './sequence.ts';

export interface GoldenGeneration {
  prompt: GoldenPrompt;
  repetition_penalty: number;
  generated_ids: number[];
  steps: { id: number; logp: number; entropy: number; first4: number[]; top2_gap: number }[];
  min_top2_gap: number;
}

/** Greedy decoding, with a cache of keys and values and without. */
export async function checkGeneration(policy: Policy, golden: GoldenGeneration, checks: Checks): Promise<void> {
  const bounds = boundsFor(policy.config.text.hidden);
  const { prompt, generated_ids: ids, steps, repetition_penalty: penalty } = golden;
  await checks.run('prompt', (check) => {
    checkLayout(policy, prompt, check);
    check.same('steps', steps.map(({ id }) => id), ids); // prettier-ignore
    check.near('min_top2_gap', golden.min_top2_gap, Math.min(...steps.map((s) => s.top2_gap)), DIGITS, 'logits');
  });
  await checks.run('greedy, with a cache', async (check) => {
    const options = { maxTokens: ids.length, temperature: 0, repetitionPenalty: penalty };
    const [[got]] = (await policy.generate([encodedPrompt(prompt, policy.config)], options)) as [[Generated]];
    check.same('generated_ids', ids, got.tokens);
    steps.forEach(({ logp, entropy }, i) => {
      check.near(`steps[${i}].logp`, logp, got.logProbs[i], bounds.value, 'log-probabilities');
      check.near(`steps[${i}].entropy`, entropy, got.entropy[i], bounds.value, 'entropies');
    });
  });
  await checks.run('greedy, without a cache', async (check) => {
    // what row t chooses depends on rows before it alone: one run over all of them shows every choice
    integers('generated_ids', ids);
    const whole = packSequences([followedBy(prompt, ids)], policy.config);
    const logits = await policy.logits(whole, whole.targetRows);
    const vocab = policy.config.text.vocab;
    const seen = new Set(prompt.input_ids);
    steps.forEach(({ logp, entropy, first4, top2_gap }, i) => {
      const z = Array.from(logits.slice(i * vocab, (i + 1) * vocab));
      const raw = statisticsOf(z);
      const penalised = statisticsOf(z.map((v, id) => (!seen.has(id) ? v : v > 0 ? v / penalty : v * penalty)));
      check.same(`generated_ids[${i}]`, ids[i], penalised.argmax);
      check.near(`steps[${i}].first4`, first4, z.slice(0, 4), bounds.value, 'logits');
      check.near(`steps[${i}].top2_gap`, top2_gap, penalised.top2_gap, bounds.gap, 'logits');
      check.near(`steps[${i}].logp`, logp, z[ids[i]!]! - raw.lse, bounds.value, 'log-probabilities');
      check.near(`steps[${i}].entropy`, entropy, raw.entropy, bounds.value, 'entropies');
      seen.add(ids[i]!);
    });
  });
}

type Generated = Awaited<ReturnType<Policy['generate']>>[number][number];
