import type { Answerer } from '../eval/validate.ts';
import type { SamplingOptions } from '../model/qwen3vl/policy.ts';
import type { RewardRunner } from '../rewards/index.ts';
import { encodeInTurn, type EncodePromptsOptions } from '../rollout/encodePrompts.ts';
import { answerAll } from '../rollout/engine.ts';
import type { RolloutPolicy } from '../rollout/group.ts';

/** Greedy answers of the policy as it is now, scored as in training. */
export function answererOf(
  policy: RolloutPolicy,
  rewards: RewardRunner,
  { maxTokens, stopStrings, ...options }: EncodePromptsOptions & Pick<SamplingOptions, 'maxTokens' | 'stopStrings'>,
): Answerer {
  const asked = { n: 1, maxTokens, temperature: 0, ...(stopStrings && { stopStrings }) };
  return {
    async answer(prompts, { batchPrompts, signal }, onAnswer) {
      async function* requests() {
        let index = 0;
        for await (const result of encodeInTurn(policy, prompts, options, batchPrompts)) {
          if (result.skipped === undefined) yield { ...asked, prompt: result.encoded, index: index++ };
          else await onAnswer(index++, { skipped: result.skipped });
        }
      }
      await answerAll(policy, requests(), {
        rollouts: batchPrompts,
        signal,
        onFinished({ index }, [response]) {
          const { tokens, finish } = response!;
          const text = policy.tokenizer.decode(tokens, { skipSpecial: true });
          return onAnswer(index, { text, tokens: tokens.length, finish });
        },
      });
    },
    async score(prompt, response) {
      const { answer, problemType } = prompt;
      return (await rewards.score([{ response, answer, problemType, prompt }]))[0]!;
    },
  };
}
