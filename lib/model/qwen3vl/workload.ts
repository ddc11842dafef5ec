import type { ModelConfig } from './config.ts';
import type { Recompute } from './policy.ts';
import { ENGINE_DEFAULTS } from './sampler.ts';

/** What a pass of the policy is over. */
export interface PassSize {
  /** rows of the language model */
  rows: number;
  /** patches of the vision tower */
  patches: number;
  /** response tokens whose log-probability is wanted */
  targets: number;
  /** keys that a row of the language model, and a patch of the tower, see on average */
  keys: number;
  patchKeys: number;
}

const F32 = 4;
const BF16 = 2;

/**
 * Bytes that a layer of the language model keeps for each row: results of products and attention, and what follows from them. Where activations are
 * `narrow`, what products read and what they leave to the MLP is in bf16 (csrc/model/qwen3vl/rows.h), experts left out.
 */
function textLayer({ text: t }: ModelConfig, narrow: boolean) {
  const [query, key] = [t.heads * t.headDim, t.kvHeads * t.headDim];
  const mlp = mlpOf(t);
  const half = narrow ? BF16 : F32;
  const wide = t.moe ? F32 : half; // of the MLP
  const beside = narrow ? BF16 : 0; // gradients in bf16 that are there beside those in f32
  return {
    input: F32 * t.hidden,
    products: F32 * (query + 2 * key + t.heads + t.hidden + mlp.routed) + half * query + wide * 2 * mlp.width,
    rowwise:
      F32 * (2 + t.heads + t.kvHeads + query + key + 4 * mlp.active) + half * t.hidden + wide * (t.hidden + mlp.width),
    backward:
      F32 * (mlp.active * t.hidden + t.hidden + query + key) +
      half * (query + key) +
      (t.moe ? F32 * 2 * mlp.width : 0) + // of one MLP they take the place of what it has made
      beside * (query + key + t.hidden),
  };
}

/** What a row goes through between the attentions: one MLP, or some of many experts and the router before them. */
function mlpOf({ moe, mlp }: ModelConfig['text']) {
  return moe
    ? { width: moe.active * moe.mlp, active: moe.active, routed: moe.experts }
    : { width: mlp, active: 0, routed: 0 };
}

/** The same of a block of the vision tower, for each patch. */
function visionBlock({ vision: v }: ModelConfig, narrow: boolean) {
  const half = narrow ? BF16 : F32;
  const beside = narrow ? BF16 : 0;
  return {
    input: F32 * v.hidden,
    products: F32 * (4 * v.hidden + v.heads + v.mlp) + half * v.hidden,
    rowwise: F32 * 4 + half * (2 * v.hidden + v.mlp),
    backward: F32 * (4 * v.hidden + (narrow ? v.mlp : 0)) + beside * (v.mlp + 5 * v.hidden),
  };
}

/** The same of the mergers, which follow the last block and every tap, for each patch; and what they hand on: merged features and a level for every tap. */
function mergers({ text, vision: v }: ModelConfig, narrow: boolean) {
  const count = v.taps.length + 1;
  const half = narrow ? BF16 : F32;
  return {
    kept: count * (F32 * (v.hidden + 2) + half * 2 * v.hidden),
    levels: (count * F32 * text.hidden) / v.merge ** 2,
    backward: F32 * 2 * v.hidden + (narrow ? BF16 * (v.hidden + text.hidden / v.merge ** 2) : 0),
  };
}

type Kept = Pick<ReturnType<typeof textLayer>, 'input' | 'products' | 'rowwise'>;

/** Bytes for each row that `layers` layers take while a pass runs, by what is kept of them for a backward pass. */
function held(layers: number, { input, products, rowwise }: Kept, keep: Keep): number {
  const kept: Record<Keep, [whole: number, shared: number]> = {
    nothing: [0, products + rowwise + input], // two inputs take turns; the first is counted below
    full: [input, products + rowwise],
    selective: [input + products, rowwise],
    none: [input + products + rowwise, 0],
  };
  const [whole, shared] = kept[keep];
  return input + layers * whole + shared;
}

/** `nothing` is a forward pass alone; the others are what a backward pass computes again. */
export type Keep = 'nothing' | Recompute;

/**
 * Bytes of activations that a pass holds at its peak: in f32, or `narrow` (a GPU's, where all matrices are bf16 and none is adapted). A part's
 * are given back once nobody reads them any more: the tower's in a forward pass alone, those of each layer in a backward pass (csrc/model/qwen3vl/policy.cpp).
 */
export function activationBytes(
  config: ModelConfig,
  size: Omit<PassSize, 'keys' | 'patchKeys'>,
  keep: Keep,
  narrow = false,
): number {
  const { text, vision } = config;
  const { rows, patches, targets } = size;
  const [layer, block, merging] = [textLayer(config, narrow), visionBlock(config, narrow), mergers(config, narrow)];
  const backward = keep !== 'nothing';
  const angles = (F32 * vision.hidden) / vision.heads;
  const entering = block.input + angles + F32 * patchSize(config); // pixels become rows
  const tower = held(vision.depth, block, keep) + angles + merging.kept;
  const language = (held(text.layers, layer, keep) + F32 * (text.headDim + (backward ? text.hidden : 0))) * rows;
  const head = F32 * (2 * text.hidden + 4 + (backward ? text.hidden : 0)) * targets;
  // from the beginning to the end: results, pictures as they are read and once more as they are handed over, features and gradients of these and of patches
  const throughout =
    F32 * 4 * targets +
    (2 * pixelBytes(config, 1) + merging.levels + (backward ? merging.levels + F32 * vision.hidden : 0)) * patches;
  if (!backward) return throughout + Math.max(Math.max(tower, entering) * patches, language + head);
  const backwardOfText = Math.max(layer.backward * rows, head + F32 * heldByHead(text.vocab, text.hidden, targets));
  const backwardOfTower = Math.max(block.backward, merging.backward) * patches;
  return (
    throughout +
    Math.max(tower * patches + language + backwardOfText, tower * patches + backwardOfTower, entering * patches)
  );
}

/** Numbers that the head holds at a time in training: logits, and gradients of hidden states that are added up apart. kBlock, kNear and kStretches of csrc/ops/head. */
function heldByHead(vocabulary: number, hidden: number, targets: number): number {
  const [block, near, stretches] = [Math.min(288, targets), 2 ** 19, 16];
  if (block * vocabulary < near) return Math.min(targets * vocabulary, near);
  return block * vocabulary + (stretches - 1) * block * hidden;
}

/**
 * Bytes that the head takes of a GPU beside what is counted, for so many targets: logits of a slice of the vocabulary, in training weights of softmax of
 * all of it, and hidden states as they are multiplied. kChunk, kSlice, kHeld and kSide of csrc/ops/head/cuda.cu.
 */
export function deviceHeadBytes({ text }: ModelConfig, targets: number, weightBytes: number, trains: boolean): number {
  const [most, slice, heldBytes, side] = [8192, 8192, 640 * 2 ** 20, 128];
  const fitting = Math.floor(Math.floor(heldBytes / (text.vocab * weightBytes)) / side) * side;
  const bound = trains ? Math.min(most, Math.max(side, fitting)) : most;
  const chunks = Math.ceil(targets / bound);
  const chunk = Math.min(targets, Math.ceil(Math.ceil(targets / Math.max(1, chunks)) / side) * side);
  const slices = Math.ceil(text.vocab / slice);
  const perToken =
    F32 * Math.min(slice, text.vocab) +
    (trains ? weightBytes * text.vocab : 0) +
    (weightBytes < F32 ? weightBytes * text.hidden : 0) +
    F32 * (slices + 1) +
    16 * slices;
  return chunk * perToken;
}

const patchSize = ({ vision: v }: ModelConfig) => 3 * v.temporalPatch * v.patch ** 2;

/** Bytes of pictures that wait for the tower. */
export const pixelBytes = ({ vision: { patch } }: ModelConfig, patches: number): number => 3 * patch ** 2 * patches;

/** Bytes of the keys and values of so many tokens, in f32. */
export const cacheBytes = ({ text }: ModelConfig, tokens: number): number =>
  F32 * 2 * text.layers * text.kvHeads * text.headDim * tokens;

/** Bytes of cache without which the engine refuses a request: whole pages, as csrc/model/qwen3vl/engine.cpp counts them. */
export function leastCacheBytes(config: ModelConfig, promptTokens: number, maxTokens: number): number {
  const { pageTokens } = ENGINE_DEFAULTS;
  const pages = (tokens: number) => Math.max(1, Math.ceil(tokens / pageTokens));
  return (pages(promptTokens) + pages(maxTokens - 1)) * cacheBytes(config, pageTokens);
}

/** Weights of matrix products of the language model that every row is multiplied by. */
function rowWeights({ text: t }: ModelConfig): number {
  const [query, key] = [t.heads * t.headDim, t.kvHeads * t.headDim];
  const { width, routed } = mlpOf(t);
  return t.layers * t.hidden * (2 * query + 2 * key + 3 * width + routed);
}

/** Bytes of the language model's weights laid out once more for decoding; `pairs` of bf16 numbers are elements of f32. */
export function packedBytes({ text: t }: ModelConfig, pairs = false): number {
  const [query, key] = [t.heads * t.headDim, t.kvHeads * t.headDim];
  const packed = (out: number, from: number) => (out + 64) * (pairs ? Math.ceil(from / 2) : from);
  const attention = packed(query, t.hidden) + 2 * packed(key, t.hidden) + packed(t.hidden, query);
  const layer = attention + (t.moe ? 0 : 2 * packed(t.mlp, t.hidden) + packed(t.hidden, t.mlp)); // experts are read as they are
  return F32 * (t.layers * layer + packed(t.vocab, t.hidden));
}

/** Floating-point operations of a forward pass, a multiply-add being two. */
export function forwardFlops(config: ModelConfig, { rows, patches, targets, keys, patchKeys }: PassSize): number {
  const { text, vision: v } = config;
  const merged = v.hidden * v.merge ** 2;
  const tower = patches * (v.depth * (4 * v.hidden ** 2 + 2 * v.hidden * v.mlp + 2 * v.hidden * patchKeys) + patchSize(config) * v.hidden); // prettier-ignore
  const merge = (patches / v.merge ** 2) * (v.taps.length + 1) * (merged ** 2 + merged * text.hidden);
  const attention = rows * text.layers * 2 * text.heads * text.headDim * keys;
  return 2 * (rows * rowWeights(config) + attention + targets * text.hidden * text.vocab + tower + merge);
}
