import type { Demonstration } from '../data/dataset.ts';
import { ofRow } from '../data/promptRow.ts';
import { assemblePrompt, type PromptTextOptions } from '../data/promptText.ts';
import type { EncodedPrompt } from '../model/qwen3vl/encodePrompt.ts';
import type { Policy } from '../model/qwen3vl/policy.ts';
import { packPrompts, type PolicyBatch } from '../model/qwen3vl/policyBatch.ts';
import { G2rpoError } from '../runtime/errors.ts';

/** A demonstration as the policy reads it, with what it is to predict where. */
export interface EncodedDemonstration {
  /** prompt and response in one */
  sequence: EncodedPrompt;
  /** row whose hidden state predicts … */
  targetRows: number[];
  /** … this token */
  targetIds: number[];
}

/**
 * Prompt and demonstrated response as one sequence. A `demonstration` is predicted token by token, the stop token included.
 * `labels` are predicted where the picture's visual tokens stand, one word each: the policy names what it sees there. Both go
 * through the same head as every response.
 *
 * @throws INVALID_DATA  a label that is more than one token, another number of labels than visual tokens, or a control token
 *   in the demonstration: it would end the response early
 * @throws INVALID_PROMPT, INVALID_IMAGE, INVALID_VIDEO  as `Policy.encode`
 */
export async function encodeDemonstration(
  policy: Pick<Policy, 'encode' | 'tokenizer'>,
  row: Demonstration,
  { maxPromptTokens, ...text }: PromptTextOptions & { maxPromptTokens?: number },
): Promise<EncodedDemonstration> {
  const limit = maxPromptTokens === undefined ? {} : { maxPromptTokens };
  const prompt = await policy.encode(assemblePrompt(row, text), limit).catch((error: unknown) => {
    throw ofRow(error, row.source);
  });
  const control = policy.tokenizer.controlTokenIn(row.demonstration ?? '');
  if (control !== undefined) refuse(row, `demonstration must not contain the control token ${control}`);
  const response =
    row.demonstration === undefined
      ? []
      : [...policy.tokenizer.encode(row.demonstration), policy.tokenizer.stopIds[0]!];
  const last = prompt.inputIds.length - 1;
  const targetRows = response.map((_, t) => last + t);
  const targetIds = [...response];
  row.labels?.forEach((word, k) => {
    if (word === null) return;
    const ids = policy.tokenizer.encode(word);
    if (ids.length !== 1) refuse(row, `labels[${k}] must be one token; ${JSON.stringify(word)} is ${ids.length}`);
    targetRows.push(prompt.visualRows[k]!);
    targetIds.push(ids[0]!);
  });
  if (row.labels && row.labels.length !== prompt.visualRows.length)
    refuse(row, `labels must be one per visual token: ${prompt.visualRows.length}; got ${row.labels.length}`);
  return { sequence: followedBy(prompt, response.slice(0, -1)), targetRows, targetIds };
}

function refuse({ source: { file, row } }: Demonstration, why: string): never {
  throw new G2rpoError('INVALID_DATA', `${file} row ${row}: ${why}`, { file, row });
}

/** The prompt with further tokens behind it, whose positions go on on all axes. */
function followedBy(prompt: EncodedPrompt, tokens: readonly number[]): EncodedPrompt {
  const [before, rows] = [prompt.inputIds.length, prompt.inputIds.length + tokens.length];
  const inputIds = new Int32Array(rows);
  inputIds.set(prompt.inputIds);
  inputIds.set(tokens, before);
  const positionIds = new Int32Array(3 * rows);
  for (let axis = 0; axis < 3; axis++) {
    positionIds.set(prompt.positionIds.subarray(axis * before, (axis + 1) * before), axis * rows);
    for (let t = before; t < rows; t++) positionIds[axis * rows + t] = t + prompt.ropeDelta;
  }
  return { ...prompt, inputIds, positionIds };
}

/** Demonstrations one after the other; a picture that several show is packed once. */
export function packDemonstrations(list: readonly EncodedDemonstration[], merge: number): PolicyBatch {
  const batch = packPrompts(
    list.map(({ sequence }) => sequence),
    merge,
  );
  const shifted = list.map(({ targetRows }, i) => targetRows.map((row) => row + batch.segmentStarts[i]!));
  return {
    ...batch,
    targetRows: Int32Array.from(shifted.flat()),
    targetIds: Int32Array.from(list.flatMap(({ targetIds }) => targetIds)),
  };
}
