import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EncodedPrompt } from '../../lib/model/qwen3vl/encodePrompt.ts';
import type { ProcessedImage } from '../../lib/model/qwen3vl/imageProcessor.ts';
import type { Policy, PolicyBatch } from '../../lib/model/qwen3vl/policy.ts';
import { positionsOf } from '../../lib/model/qwen3vl/positions.ts';
import type { Group } from '../../lib/rollout/group.ts';
import { packSlices } from '../../lib/rollout/packBatch.ts';

/** A prompt: a picture of so many visual tokens, if any, and text. */
export interface PromptSize {
  visual: number;
  text: number;
}
export interface Sequence {
  prompt: EncodedPrompt;
  response: Int32Array;
}

let seed = 1;
const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;

/** A prompt of random pixels and tokens. */
export function promptOf({ config, tokenizer }: Policy, { visual, text }: PromptSize): EncodedPrompt {
  const side = config.vision.merge * Math.sqrt(visual);
  const { ids } = config;
  const tokens = Array.from({ length: text - (visual ? 2 : 0) }, () => Math.floor(random() * (tokenizer.size - 40)));
  const shown = [ids.visionStart, ...Array<number>(visual).fill(ids.image), ids.visionEnd];
  const inputIds = Int32Array.from(visual ? [...shown, ...tokens] : tokens);
  const height = side * config.vision.patch;
  const picture: ProcessedImage = {
    pixels: Uint8Array.from({ length: 3 * height ** 2 }, () => 256 * random()),
    ...{ height, width: height, gridThw: [1, side, side], visualTokens: visual },
  };
  return {
    inputIds,
    ...positionsOf(inputIds, { images: visual ? [picture.gridThw] : [], videos: [] }, config),
    images: visual ? [picture] : [],
    visualRows: Int32Array.from({ length: visual }, (_, i) => i + 1),
  };
}

export const responseOf = ({ tokenizer }: Policy, tokens: number) =>
  Int32Array.from({ length: tokens }, () => Math.floor(random() * (tokenizer.size - 40)));

/** One row after another; sequences that are neighbours and have the same prompt object share it if `shared`. */
export function packSequences(policy: Policy, sequences: readonly Sequence[], shared = false): PolicyBatch {
  const groups: Sequence[][] = [];
  for (const sequence of sequences)
    if (shared && groups.at(-1)?.[0]!.prompt === sequence.prompt) groups.at(-1)!.push(sequence);
    else groups.push([sequence]);
  return packSlices(
    groups.map((group) => ({
      group: {
        encoded: group[0]!.prompt,
        rollouts: group.map(({ response }) => ({ tokens: response })),
      } as unknown as Group,
      ...{ first: 0, from: 0, to: group.length },
    })),
    policy.config.vision.merge,
  );
}

/** The same sequences, all of one length, for a peer: a JSON file, and the pixels behind each other in f32. @returns its path */
export async function writeSequences(
  { imageProcessor }: Pick<Policy, 'imageProcessor'>,
  dir: string,
  name: string,
  sequences: readonly { prompt: EncodedPrompt; response?: Int32Array }[],
) {
  const path = join(dir, `${name}.json`);
  const images = sequences.flatMap(({ prompt }) => prompt.images);
  writeFileSync(`${path}.f32`, await imageProcessor.rows(images));
  const ids = sequences.map(({ prompt, response }) => [...prompt.inputIds, ...(response ?? [])]);
  writeFileSync(path, JSON.stringify({ ids, grids: images.map(({ gridThw }) => gridThw) }));
  return path;
}
