import type { Answerer } from '../eval/validate.ts';
import type { RewardRunner } from '../rewards/index.ts';
import { encodePrompts, type EncodePromptsOptions } from '../rollout/encodePrompts.ts';
import type { RolloutPolicy } from '../rollout/group.ts';

/** Greedy answers of the policy as it is now, scored as in training. */
export function answererOf(
  policy: RolloutPolicy,
  rewards: RewardRunner,
  { maxTokens, ...options }: EncodePromptsOptions & { maxTokens: number },
): Answerer {
  return {
    async answer(prompts) {
      const results = await encodePrompts(policy, prompts, options);
      const encoded = results.flatMap((result) => (result.skipped === undefined ? [result.encoded] : []));
      const responses = await policy.generate(encoded, { n: 1, maxTokens, temperature: 0 });
      let next = 0;
      return results.map((result) => {
        if (result.skipped !== undefined) return { skipped: result.skipped };
        const { tokens, finish } = responses[next++]![0]!;
        return { text: policy.tokenizer.decode(tokens, { skipSpecial: true }), tokens: tokens.length, finish };
      });
    },
    score: (prompts, responses) =>
      rewards.score(
        prompts.map((prompt, i) => ({
          response: responses[i]!,
          answer: prompt.answer,
          problemType: prompt.problemType,
          prompt,
        })),
      ),
  };
}
