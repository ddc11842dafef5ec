import { ofRow } from '../data/promptRow.ts';
import { assemblePrompt, type PromptTextOptions } from '../data/promptText.ts';
import type { EncodedPrompt } from '../model/qwen3vl/encodePrompt.ts';
import { G2rpoError } from '../runtime/errors.ts';
import type { Prompt } from '../types.ts';
import type { RolloutPolicy } from './group.ts';

export interface EncodePromptsOptions {
  maxPromptTokens: number;
  text: PromptTextOptions;
  /** 'skip' says why a prompt cannot be encoded, and goes on */
  onBadRow: 'error' | 'skip';
}

/** A prompt as the policy reads it, or why it cannot be: the message of the error, with the row it is about. */
export type EncodedOrSkipped = { encoded: EncodedPrompt; skipped?: never } | { skipped: string; encoded?: never };

/**
 * Prompts as the policy reads them, in the same order.
 *
 * @throws INVALID_PROMPT, INVALID_IMAGE, INVALID_VIDEO  unless bad rows are skipped; the message names the row
 */
export function encodePrompts(
  policy: Pick<RolloutPolicy, 'encode'>,
  prompts: readonly Prompt[],
  { maxPromptTokens, text, onBadRow }: EncodePromptsOptions,
): Promise<EncodedOrSkipped[]> {
  return Promise.all(
    prompts.map(async (prompt) => {
      try {
        return { encoded: await policy.encode(assemblePrompt(prompt, text), { maxPromptTokens }) };
      } catch (cause) {
        const error = ofRow(cause, prompt.source);
        if (!(error instanceof G2rpoError) || onBadRow === 'error') throw error;
        return { skipped: error.message };
      }
    }),
  );
}

/** The same one by one: `together` are encoded at a time, and as many while those before them are worked on. @throws as `encodePrompts` */
export async function* encodeInTurn(
  policy: Pick<RolloutPolicy, 'encode'>,
  prompts: readonly Prompt[],
  options: EncodePromptsOptions,
  together: number,
): AsyncGenerator<EncodedOrSkipped> {
  const part = (begin: number) => {
    const results = encodePrompts(policy, prompts.slice(begin, begin + together), options);
    results.catch(() => undefined); // thrown when it is its turn
    return results;
  };
  let next = part(0);
  for (let begin = 0; begin < prompts.length; begin += together) {
    const results = await next;
    next = part(begin + together);
    yield* results;
  }
}
