import { ofRow } from '../data/promptRow.ts';
import { assemblePrompt, type PromptTextOptions } from '../data/promptText.ts';
import type { Answerer } from '../eval/validate.ts';
import type { RewardRunner } from '../rewards/index.ts';
import type { RolloutPolicy } from '../rollout/group.ts';

/** Greedy answers of the policy as it is now, scored as in training. */
export function answererOf(
  policy: RolloutPolicy,
  rewards: RewardRunner,
  { maxTokens, maxPromptTokens, text }: { maxTokens: number; maxPromptTokens: number; text: PromptTextOptions },
): Answerer {
  return {
    async answer(prompts) {
      const encoded = await Promise.all(
        prompts.map(async (prompt) => {
          try {
            return await policy.encode(assemblePrompt(prompt, text), { maxPromptTokens });
          } catch (error) {
            throw ofRow(error, prompt.source);
          }
        }),
      );
      const responses = await policy.generate(encoded, { n: 1, maxTokens, temperature: 0 });
      return responses.map(([response]) => ({
        text: policy.tokenizer.decode(response!.tokens, { skipSpecial: true }),
        tokens: response!.tokens.length,
        finish: response!.finish,
      }));
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
