import { loadDataset } from '../data/dataset.ts';
import { SCALED_ELEMENTS } from '../kernels/adamw8bit.ts';
import { linear } from '../kernels/linear.ts';
import type { ModelConfig } from '../model/qwen3vl/config.ts';
import { PIECE } from '../model/qwen3vl/parameterUpdate.ts';
import type { EncodedPrompt } from '../model/qwen3vl/encodePrompt.ts';
import { isMatrix } from '../model/qwen3vl/parameter.ts';
import { ENGINE_DEFAULTS } from '../model/qwen3vl/sampler.ts';
import { loraTargets } from '../model/qwen3vl/lora.ts';
import { elementCount, parameterCount, tensorNames, type TensorShape } from '../model/qwen3vl/tensorNames.ts';
import {
  activationBytes,
  cacheBytes,
  deviceHeadBytes,
  forwardFlops,
  packedBytes,
  pixelBytes,
  type Keep,
  type PassSize,
} from '../model/qwen3vl/workload.ts';
import { besideCpu } from '../runtime/env.ts';
import { G2rpoError } from '../runtime/errors.ts';
import { native } from '../runtime/native.ts';
import { Scope, zeros } from '../runtime/tensor.ts';
import { createAlgorithm, type Algorithm } from '../algorithms/index.ts';
import { batchNotes, checkBeforehand, wantRoom } from './beforehand.ts';
import type { TrainConfig } from './config.ts';
import { encodeSome } from './encodeSome.ts';
import { rowOptionsOf } from './scoredBy.ts';
import { withLimits } from './train.ts';
import { gradientsAtOnce, largestTrained, trainedSize } from './trainedSize.ts';

/** Something that stays in memory for the whole run. */
export interface Holding {
  name: string;
  bytes: number;
  /** in the host's memory beside a GPU: train.memoryLimitMb does not count it */
  onHost?: boolean;
  /** in a GPU's memory, and not counted by train.memoryLimitMb */
  uncounted?: boolean;
}

/** A part of a step: what it takes beside what stays, at its peak, and how long it should take. */
export interface PlannedPhase {
  name: string;
  /** what is worked on at a time */
  of: string;
  bytes: number;
  /** per rollout batch; undefined where the phase is not a part of one */
  seconds: number | undefined;
  /** done in micro-batches, which are halved where memory is short */
  halved: boolean;
}

export interface RunPlan {
  parameters: number;
  /** prompts that were looked at, and what they are like on average and at most */
  prompts: { looked: number; tokens: number; longest: number; visualTokens: number };
  holdings: Holding[];
  phases: PlannedPhase[];
  /** bytes of the process at the highest point of the run */
  peakBytes: number;
  /** what the engine may take, if that is limited, and the phases for which it is not enough */
  limit: { bytes: number; stays: number; short: { phase: string; bytes: number; halved: boolean }[] } | undefined;
  /** floating-point operations per second that a product of the policy's shape reached just now */
  flopsPerSecond: number;
  updatesPerBatch: number;
  /** what is well and yet may surprise */
  notes: string[];
  /** rows that an update may have although train.microBatchTokens is less and train.optimizerInBackward does not cut it: it would be refused */
  tooManyRows: number | undefined;
}

const [F32, BF16] = [4, 2];
/** Rows up to which decoding reads weights as they are: kFewRows of csrc/model/qwen3vl/engine.cpp. */
const FEW_ROWS = 4;
/** Rows whose logits are there at a time, where all of a row's are: kLogitRows of csrc/model/qwen3vl/draw.cpp. */
const LOGIT_ROWS = 256;
/** Else ids whose logits are there at a time, and bytes that are kept of a row's: kSlice and Slice of csrc/ops/sample/race.h. */
const [SLICE, SLICE_BYTES] = [960, 56];
/** Bytes of threads that decode pictures, and of what JavaScript leaves lying until it is collected. Measured on the quick start. */
const LEFT_LYING = 48e6;
/** Of a step's time beside matrix products: norms, activation functions, softmax, waiting. Measured on the quick start. */
const BESIDE_PRODUCTS = 1.5;

/**
 * What a run will take, before any of it runs: memory and time by phase, from the shapes of the policy, the prompts of the data set
 * and the speed of this machine. Responses are taken to be as long as they may be, and no prompt to be dropped.
 *
 * @throws INVALID_CONFIG  as `checkBeforehand`; a cache too small for a rollout of one of these prompts
 * @throws INVALID_CHECKPOINT, INVALID_DATA, INVALID_IMAGE, INVALID_VIDEO, INVALID_PROMPT, NO_PROMPTS, IO
 */
export async function planRun(config: TrainConfig): Promise<RunPlan> {
  await checkBeforehand(config);
  const { prompts } = loadDataset(config.data.train, rowOptionsOf(config));
  const { encoder, looked, encoded, longest } = await encodeSome(config, prompts);
  if (encoded.length === 0)
    throw new G2rpoError('NO_PROMPTS', `plan: none of ${looked} prompts of data.train can be encoded`);
  const model = encoder.config;
  wantRoom(config, model, longest);
  const heldOut = config.data.validation ? loadDataset(config.data.validation, rowOptionsOf(config)).prompts.length : 0;
  const resident = process.memoryUsage().rss;
  const shape = meanOf(encoded);
  const parameters = parameterCount(model);
  const narrow = config.policy.weights === 'bf16';
  const weights = F32 * parameters - (narrow ? (F32 - BF16) * sizeOf(tensorNames(model).filter(isMatrix)) : 0);
  const { needs } = createAlgorithm(withLimits(config));
  const holdings: Holding[] = [
    { name: 'process, data set and tokenizer', bytes: resident + LEFT_LYING },
    { name: 'weights', bytes: weights },
    ...trainingHoldings(model, config.train),
    ...(needs.reference ? [{ name: 'weights of the reference policy', bytes: weights }] : []),
    ...deviceHoldings(config, model, shape),
  ];
  const flopsPerSecond = await speedOf(model);
  const phases = phasesOf(config, model, shape, needs, heldOut).map(({ flops, ...phase }) => ({
    ...phase,
    seconds: flops === undefined ? undefined : (BESIDE_PRODUCTS * flops) / flopsPerSecond,
  }));
  const held = holdings.reduce((sum, { bytes }) => sum + bytes, 0);
  const engine = holdings
    .slice(1)
    .reduce((sum, { bytes, onHost, uncounted }) => sum + (onHost || uncounted ? 0 : bytes), 0);
  const { memoryLimitMb, updatePrompts } = config.train;
  const { n, maxTokens } = config.rollout;
  const rows = Math.ceil(updatePrompts * (shape.tokens + n * maxTokens));
  const limit = memoryLimitMb === undefined ? undefined : 1e6 * memoryLimitMb;
  return {
    parameters,
    prompts: {
      looked: encoded.length,
      tokens: shape.tokens,
      longest,
      visualTokens: shape.visual,
    },
    holdings,
    phases,
    peakBytes: held + Math.max(...phases.map(({ bytes }) => bytes)),
    limit:
      limit === undefined
        ? undefined
        : {
            bytes: limit,
            stays: engine,
            short: phases.flatMap(({ name, bytes, halved }) => engine + bytes > limit ? [{ phase: name, bytes: engine + bytes, halved }] : []), // prettier-ignore
          },
    flopsPerSecond,
    updatesPerBatch: Math.ceil(config.rollout.prompts / config.train.updatePrompts),
    notes: batchNotes(config, prompts),
    tooManyRows: config.train.optimizerInBackward && rows > config.train.microBatchTokens ? rows : undefined,
  };
}

/** Bytes of weights packed for decoding: on a CPU; those of bf16 where it multiplies pairs of them (`packs_bf16` of csrc/ops/linear). */
function packedForDecoding(model: ModelConfig, { policy }: TrainConfig): number {
  if (besideCpu()) return 0;
  const pairs = policy.weights === 'bf16';
  return pairs && !native().hostIsa().startsWith('avx512bf16') ? 0 : packedBytes(model, pairs);
}

/** What training holds beside the weights: of what is trained alone. */
function trainingHoldings(model: ModelConfig, train: TrainConfig['train']): Holding[] {
  const tensors = tensorNames(model);
  const trained = trainedSize(tensors, train);
  const masters = train.masterWeights ? trainedSize(tensors, train, isMatrix) : 0;
  const adapted = train.lora ? loraTargets(tensors, train.lora) : [];
  const copies = sizeOf(adapted);
  const onHost = train.offloadOptimizer;
  return [
    ...(train.lora ? [{ name: 'adapters, and weights merged with them', bytes: F32 * (trained + copies) }] : []),
    ...(masters > 0 ? [{ name: 'masters of weights in bf16', bytes: F32 * masters, onHost }] : []),
    ...(train.optimizerInBackward ? [] : [{ name: 'gradients', bytes: F32 * trained }]),
    { name: 'moments of AdamW', bytes: momentBytes(train) * trained, onHost },
    ...(train.ema ? [{ name: 'moving averages', bytes: F32 * trained }] : []),
  ];
}

/** What a GPU's libraries and its head take beside the engine's memory. */
function deviceHoldings(config: TrainConfig, model: ModelConfig, prompt: PromptShape): Holding[] {
  if (!besideCpu()) return [];
  const weightBytes = config.policy.weights === 'bf16' ? BF16 : F32;
  const { group, updated } = passesOf(config, prompt);
  const headBytes = (trains: boolean) =>
    deviceHeadBytes(model, Math.ceil(updated * group.targets), weightBytes, trains);
  return [
    { name: 'the head, while it computes', bytes: Math.max(headBytes(true), headBytes(false)), uncounted: true },
    { name: 'room of cuBLASLt', bytes: 32 * 2 ** 20, uncounted: true },
  ];
}

/** Of a parameter. */
const momentBytes = ({ optimizer }: TrainConfig['train']) =>
  optimizer === 'adamw8bit' ? 2 + 8 / SCALED_ELEMENTS : 2 * F32;

/** What an update takes on the device of an optimizer that is in the host's memory: two pieces of the largest tensor. */
function offloadedBytes(model: ModelConfig, train: TrainConfig['train']): number {
  if (!train.offloadOptimizer) return 0;
  const piece = Math.min(PIECE, largestTrained(tensorNames(model), train));
  return 2 * piece * (momentBytes(train) + (train.masterWeights ? F32 : 0));
}

const sizeOf = (tensors: readonly TensorShape[]) => tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);

interface PromptShape {
  tokens: number;
  visual: number;
  patches: number;
  /** patches that a patch sees */
  patchKeys: number;
}

function meanOf(encoded: readonly EncodedPrompt[]): PromptShape {
  const mean = (of: (prompt: EncodedPrompt) => number) =>
    encoded.reduce((sum, prompt) => sum + of(prompt), 0) / encoded.length;
  const grids = encoded.flatMap(({ images }) =>
    images.map(({ gridThw: [t, h, w] }) => ({ patches: t * h * w, seen: h * w })),
  );
  const patches = grids.reduce((sum, grid) => sum + grid.patches, 0);
  return {
    tokens: mean(({ inputIds }) => inputIds.length),
    visual: mean(({ visualRows }) => visualRows.length),
    patches: patches / encoded.length,
    patchKeys: grids.reduce((sum, { patches: n, seen }) => sum + n * seen, 0) / Math.max(1, patches),
  };
}

type FlopsPhase = Omit<PlannedPhase, 'seconds'> & { flops: number | undefined };

function phasesOf(
  config: TrainConfig,
  model: ModelConfig,
  prompt: PromptShape,
  needs: Algorithm['needs'],
  heldOut: number,
): FlopsPhase[] {
  const { rollout, train } = config;
  const { n, maxTokens } = rollout;
  const narrow = besideCpu() && config.policy.weights === 'bf16' && !train.lora;
  const activationsOf = (size: PassSize, keep: Keep) => activationBytes(model, size, keep, narrow);
  const sampled = (prompts: number, each: number, filtered: boolean) => {
    const rows = prompts * each;
    const pass = passOf(prompt, prompts, 0, 1);
    const chunk = scaled(pass, Math.min(1, ENGINE_DEFAULTS.promptRows / pass.rows));
    const prefill = activationsOf(chunk, 'nothing') + pixelBytes(model, pass.patches - chunk.patches);
    // in the end there is room for the longest response; the arrays of the cache grow one after the other, each there twice meanwhile
    const tokens = prompts * inPages(prompt.tokens) + rows * inPages(maxTokens - 1);
    const cache = Math.min(cacheBytes(model, tokens), rollout.cacheMb === undefined ? Infinity : 1e6 * rollout.cacheMb);
    const bytes =
      prefill +
      cache * (1 + 1 / (2 * model.text.layers)) +
      Math.min(rows, LOGIT_ROWS) *
        (filtered || besideCpu()
          ? (F32 + Number(filtered && rollout.repetitionPenalty !== 1)) * model.text.vocab
          : SLICE_BYTES * Math.ceil(model.text.vocab / SLICE)) +
      (rows > FEW_ROWS ? packedForDecoding(model, config) : 0);
    const decoded = { ...passOf(prompt, 0, rows * maxTokens, 1), keys: prompt.tokens + maxTokens / 2 };
    return { bytes, flops: forwardFlops(model, { ...pass, targets: rows }) + forwardFlops(model, decoded) };
  };
  const together = Math.min(rollout.batchPrompts, rollout.prompts);
  const filtered = rollout.topK > 0 || rollout.topP < 1 || rollout.repetitionPenalty !== 1;
  const rollouts = sampled(together, n, filtered);
  const { group, shareOfBudget, updated } = passesOf(config, prompt);
  const judged = Math.min(config.eval.batchPrompts, heldOut);
  const micro = (prompts: number, keep: Keep) => activationsOf(scaled(group, shareOfBudget(prompts)), keep);
  const inBackward = train.optimizerInBackward; // with the gradients of a part
  // moments come to the device when a part of the backward pass is finished, or when all of it has given its room back
  const offloaded = offloadedBytes(model, train);
  const activations = activationsOf(scaled(group, updated), train.recompute);
  const update = inBackward
    ? activations + F32 * gradientsAtOnce(tensorNames(model), train) + offloaded
    : Math.max(activations, offloaded);
  const forward = forwardFlops(model, group) * rollout.prompts;
  const again = { none: 0, selective: 0.05, full: 1 }[train.recompute];
  const rowsOf = (share: number) => `${Math.round(scaled(group, share).rows)} rows`;
  const rows = (prompts: number) => rowsOf(shareOfBudget(prompts));
  return [
    ...(heldOut > 0 ? [{ name: 'validation', of: `${judged} prompts`, bytes: sampled(judged, 1, false).bytes, flops: undefined, halved: false }] : []), // prettier-ignore
    { name: 'rollouts', of: `${together} prompts × ${n}`, bytes: rollouts.bytes, flops: (rollouts.flops * rollout.prompts) / together, halved: false }, // prettier-ignore
    ...(needs.scores || rollout.prompts > train.updatePrompts ? [{ name: 'old log-probabilities', of: rows(rollout.prompts), bytes: micro(rollout.prompts, 'nothing'), flops: forward, halved: true }] : []), // prettier-ignore
    ...(needs.reference ? [{ name: 'reference log-probabilities', of: rows(rollout.prompts), bytes: micro(rollout.prompts, 'nothing'), flops: forward, halved: true }] : []), // prettier-ignore
    { name: 'updates', of: rowsOf(updated), bytes: update, flops: forward * (3 + again), halved: !inBackward }, // prettier-ignore
  ];
}

/** A prompt with its rollouts, and how many of them stand in a pass: of so many prompts, and of an update. */
function passesOf({ rollout: { n, maxTokens }, train }: TrainConfig, prompt: PromptShape) {
  const group = passOf(prompt, 1, n * maxTokens, n);
  const least = prompt.tokens + maxTokens; // a rollout is never cut, and stands behind a prompt
  const shareOfBudget = (prompts: number) => Math.min(prompts, Math.max(least, train.microBatchTokens) / group.rows);
  // in the backward pass it is made in one, whatever train.microBatchTokens says
  const updated = train.optimizerInBackward ? train.updatePrompts : shareOfBudget(train.updatePrompts);
  return { group, shareOfBudget, updated };
}

/** Prompts once and behind them `responses` tokens, in rollouts of which `each` share a prompt. */
function passOf(prompt: PromptShape, prompts: number, responses: number, each: number): PassSize {
  const length = responses / Math.max(1, prompts * each);
  const rows = prompts * prompt.tokens + Math.max(0, responses - prompts * each); // a last token is a target alone
  return {
    rows,
    patches: prompts * prompt.patches,
    targets: responses,
    keys: rows === 0 ? 0 : (prompts * prompt.tokens ** 2 * 0.5 + responses * (prompt.tokens + length / 2)) / rows,
    patchKeys: prompt.patchKeys,
  };
}

/** Tokens of as many whole pages of the cache. */
const inPages = (tokens: number): number => Math.ceil(tokens / ENGINE_DEFAULTS.pageTokens) * ENGINE_DEFAULTS.pageTokens;

const scaled = (size: PassSize, by: number): PassSize => ({
  ...size,
  rows: size.rows * by,
  patches: size.patches * by,
  targets: size.targets * by,
});

/** A product as the policy makes them, timed for a moment. */
async function speedOf({ text }: ModelConfig): Promise<number> {
  using scope = new Scope();
  const M = 512;
  const args = {
    x: zeros('f32', [M, text.hidden], scope),
    weight: zeros('f32', [text.mlp, text.hidden], scope),
  };
  const count = Math.max(1, Math.round(2e9 / (2 * M * text.hidden * text.mlp)));
  return (2 * M * text.hidden * text.mlp) / (await linear.time(args, count));
}
