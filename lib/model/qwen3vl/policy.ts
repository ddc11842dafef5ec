import { describe, G2rpoError, refuse, wantList, wantObject, wantOptions } from '../../runtime/errors.ts';
import { callNative, fromNative, type NativePolicy } from '../../runtime/native.ts';
import type { TokenLoss } from '../../types.ts';
import { nativeUpdate, type ParameterUpdate } from './parameterUpdate.ts';
import type { ChatTemplate, ContentPart, Message } from './chatTemplate.ts';
import { openCheckpoint } from './checkpoint.ts';
import type { ModelConfig } from './config.ts';
import { wantDivisor } from './divisor.ts';
import { encodePrompt, type EncodedPrompt, type EncodeOptions, type PromptEncoder } from './encodePrompt.ts';
import type { ExpertLayout } from './expertLayout.ts';
import type { ImageProcessor } from './imageProcessor.ts';
import { nativeLoss } from './nativeLoss.ts';
import { merge, type LoraOptions } from './lora.ts';
import { readWide, type Parameter, type Real, type TrainedParameter } from './parameter.ts';
import { disposeParameters, loadParameters, type ParameterSet } from './parameters.ts';
import { writePeft } from './peft.ts';
import { packPrompts, toNative, type PolicyBatch } from './policyBatch.ts';
import { readPromptEncoder } from './promptEncoder.ts';
import {
  engineOptions,
  Sampler,
  SAMPLING_KEYS,
  type Generated,
  type Reals,
  type SamplingOptions,
  type SamplingRequest,
  type SubmitOptions,
} from './sampler.ts';
import { checkPolicyOptions, type PolicyOptions } from './policyOptions.ts';
import { tensorNames } from './tensorNames.ts';
import type { Tokenizer } from './tokenizer.ts';
import type { VideoProcessor } from './videoProcessor.ts';
import { sideFiles, writeCheckpoint } from './writeCheckpoint.ts';

export type { ParameterUpdate } from './parameterUpdate.ts';
export type { PolicyOptions } from './policyOptions.ts';
export type { PatchRows, PolicyBatch } from './policyBatch.ts';
export type { Parameter, TrainedParameter } from './parameter.ts';
export type { EngineOptions, Generated, Reals, SamplingOptions, SamplingRequest, SubmitOptions } from './sampler.ts';

/** Which activations the backward pass computes again instead of finding them. */
export type Recompute = 'none' | 'selective' | 'full';

/** Per target token: natural log-probability and entropy (nats) of softmax(logits / temperature). */
export interface Scores {
  logProbs: Reals;
  entropy: Reals;
}
export interface LossScores extends Scores {
  /** the weighted loss of each token, without the entropy term */
  loss: Reals;
  /** 1 where the ratio was clipped, 2 where the dual bound acted */
  clipped: Int32Array;
  /** of all gradients, where the pass has made an update */
  squaredNorm?: number;
}

export interface ForwardBackwardOptions {
  temperature?: number;
  recompute?: Recompute;
  /** gradients are added to what was there (true), or replace it: of the first of several micro-batches, instead of `zeroGradients` before it */
  accumulate?: boolean;
  /** what becomes of gradients that are not kept */
  update?: ParameterUpdate | undefined;
}

export interface GenerateOptions extends SamplingOptions {
  signal?: AbortSignal | undefined;
}

interface PolicyParts extends Required<PromptEncoder> {
  dir: string;
  dtype: Real;
  files: Record<string, Uint8Array>;
  set: ParameterSet;
  lora: LoraOptions | undefined;
}

/** A Qwen3-VL policy: weights on the device, with tokenizer, template and processors of its checkpoint folder. */
export class Policy {
  readonly dir: string;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate;
  readonly imageProcessor: ImageProcessor;
  /** undefined where the checkpoint does not say how videos are read */
  readonly videoProcessor: VideoProcessor | undefined;
  /** all weights, as the policy computes with them */
  readonly parameters: readonly Parameter[];
  /** what an optimizer changes: of the weights those that are not frozen, or adapters */
  readonly trained: readonly TrainedParameter[];
  /** what it computes with, and what scores are; weights may be kept in bf16 beside f32 */
  readonly dtype: Real;
  /** what stands beside the weights, kept because the folder may be gone when the policy is saved */
  readonly #files: Record<string, Uint8Array>;
  readonly #set: ParameterSet;
  readonly #lora: LoraOptions | undefined;
  readonly #native: NativePolicy;
  readonly #sampler: Sampler;
  #disposed = false;

  private constructor(parts: PolicyParts, native: NativePolicy) {
    this.dir = parts.dir;
    this.config = parts.config;
    this.tokenizer = parts.tokenizer;
    this.template = parts.template;
    this.imageProcessor = parts.imageProcessor;
    this.videoProcessor = parts.videoProcessor;
    this.parameters = parts.set.parameters;
    this.trained = parts.set.trained;
    this.dtype = parts.dtype;
    this.#files = parts.files;
    this.#set = parts.set;
    this.#lora = parts.lora;
    this.#native = native;
    this.#sampler = new Sampler(native, parts);
  }

  /**
   * Reads a Hugging Face checkpoint folder.
   *
   * @throws INVALID_CHECKPOINT  incomplete, corrupt, or of another architecture
   * @throws INVALID_ARGUMENT  an option that there is not, or of another kind
   * @throws INVALID_CONFIG  what is to be trained is named by a pattern that fits nothing
   */
  static async load(from: string, options: PolicyOptions = {}): Promise<Policy> {
    if (typeof from !== 'string') refuse('policy', 'from', 'must be the folder of a checkpoint', describe(from));
    checkPolicyOptions(options);
    const { dtype: kept = 'f32', trained, keepGradients, lora, adapter, expertLayout, engine = {}, ...media } = options;
    const dtype = kept === 'bf16' ? 'f32' : kept;
    const limits = engineOptions(engine);
    const checkpoint = await openCheckpoint(from, expertLayout && { expertLayout });
    const { config, dir } = checkpoint;
    const [files, encoder] = await Promise.all([sideFiles(dir), readPromptEncoder(checkpoint, media)]);
    const { tokenizer } = encoder;
    if (tokenizer.size > config.text.vocab)
      throw new G2rpoError(
        'INVALID_CHECKPOINT',
        `${dir}: tokenizer.json has ids up to ${tokenizer.size - 1}, config.json a vocab_size of ${config.text.vocab}`,
      );
    const set = await loadParameters(checkpoint, {
      dtype: kept,
      ...(trained !== undefined && { trained }),
      ...(keepGradients !== undefined && { keepGradients }),
      lora,
      adapter,
    });
    const { parameters } = set;
    const changed = new Set(set.trained);
    const adapters = new Map(set.adapters.map((each) => [each.name, each]));
    const partsOf = ({ a, b, rank, scale }: ParameterSet['adapters'][number]) => ({
      ...{ a: a.weight.handle, b: b.weight.handle, dA: a.gradient?.handle ?? null, dB: b.gradient?.handle ?? null },
      ...{ rank, scale },
    });
    const make = (): NativePolicy =>
      callNative(
        (n) =>
          new n.Policy(
            config,
            dtype,
            parameters.map((p) => p.name),
            parameters.map((p) => p.weight.handle),
            parameters.map((p) => p.gradient?.handle ?? (changed.has(p) || null)),
            parameters.map(({ name }) => (adapters.has(name) ? partsOf(adapters.get(name)!) : null)),
            limits,
            tokenizer.textBytes(),
          ),
      );
    let native: NativePolicy;
    try {
      native = make();
    } catch (error) {
      disposeParameters(set);
      throw error;
    }
    return new Policy({ dir, files, ...encoder, set, lora, dtype }, native);
  }

  /** One user turn of text, pictures and videos, as the policy reads it. @throws INVALID_PROMPT, INVALID_IMAGE, INVALID_VIDEO */
  async encode(parts: readonly ContentPart[], options: EncodeOptions = {}): Promise<EncodedPrompt> {
    wantList('prompt', 'parts', parts);
    return this.encodeMessages([{ role: 'user', content: [...parts] }], options);
  }

  /** A conversation, ending with the opening of an assistant turn. @throws INVALID_PROMPT, INVALID_IMAGE, INVALID_VIDEO */
  async encodeMessages(messages: readonly Message[], options: EncodeOptions = {}): Promise<EncodedPrompt> {
    return encodePrompt(this, messages, options);
  }

  /** Log-probability and entropy of every target. @throws INVALID_ARGUMENT  the batch contradicts itself; a temperature that f32 cannot divide by */
  async forward(batch: PolicyBatch, options: { temperature?: number } = {}): Promise<Scores> {
    wantOptions('policy', 'options', options, ['temperature']);
    const { temperature = 1 } = options;
    wantDivisor('policy: temperature', temperature);
    const input = toNative(batch, this);
    return this.#call(() => this.#native.forward(input, temperature));
  }

  /**
   * The same, with the gradient of the loss added to `trained[i].gradient`, or in its place (`accumulate: false`). Logits are computed once. After a
   * rejection the gradients are undefined until they are replaced, or `zeroGradients`.
   *
   * `recompute` trades time for memory and changes no bit: `none` keeps all activations; `selective` those of matrix products and
   * attention, and computes norms, rotations and activation functions again; `full` the inputs of layers alone.
   *
   * A policy whose gradients are not kept is given an `update`, which the pass makes itself, parameter by parameter; `refresh` is the caller's. What
   * fails before a parameter has moved leaves everything as it was. What fails after that leaves weights and moments that cannot be used any more:
   * whatever is asked of them is rejected with that failure.
   *
   * @throws INVALID_ARGUMENT  the batch contradicts itself; a temperature that f32 cannot divide by; a list of the loss is not [N]; kinds and scalars as in `policyLoss`; an update where gradients
   *   are kept, or none where they are not
   * @throws NON_FINITE        a logit, loss or slope of a token is NaN or infinite; with an update, a gradient
   */
  async forwardBackward(
    batch: PolicyBatch,
    loss: TokenLoss<Reals>,
    options: ForwardBackwardOptions = {},
  ): Promise<LossScores> {
    wantOptions('policy', 'options', options, ['temperature', 'recompute', 'accumulate', 'update']);
    const { temperature = 1, recompute = 'none', accumulate = true, update } = options;
    wantDivisor('policy: temperature', temperature);
    wantObject('policy', 'batch', batch);
    wantList('policy', 'targetIds', batch.targetIds);
    if (typeof accumulate !== 'boolean') refuse('policy', 'accumulate', 'must be true or false', describe(accumulate));
    const native = nativeLoss(loss, batch.targetIds.length, this.dtype);
    if (update !== undefined && update.gradientScale !== 1)
      refuse('policy', 'update.gradientScale', 'must be 1 in a backward pass', describe(update.gradientScale));
    const made = update ? nativeUpdate(update) : null;
    const input = toNative(batch, this);
    return this.#call(() => this.#native.forwardBackward(input, native, temperature, recompute, made, accumulate));
  }

  /**
   * Moves what is trained by the gradients as they are; `refresh` is the caller's.
   *
   * @throws INVALID_ARGUMENT  gradients are not kept: `forwardBackward` makes the updates
   */
  async update(update: ParameterUpdate): Promise<void> {
    return this.#call(() => this.#native.update(nativeUpdate(update)));
  }

  /** Logits of some rows, [rows, vocab], before any temperature. */
  async logits(batch: PolicyBatch, rows: Int32Array): Promise<Reals> {
    const input = toNative(batch, this);
    wantList('policy', 'rows', rows);
    return this.#call(() => this.#native.logits({ ...input, rows }));
  }

  /** The vision tower's output: merged embeddings first, then the deepstack levels; each [visual tokens, hidden]. */
  async features(images: PolicyBatch['images']): Promise<Reals[]> {
    const input = toNative({ ...packPrompts([], this.config.vision.merge), images }, this);
    return this.#call(() => this.#native.features(input));
  }

  /**
   * Samples n responses to a prompt, together with whatever else is under way: requests that are submitted while others are sampled
   * begin as soon as there is room for them, in the order of arrival. Prompt and pictures are computed once, whatever n. Ids of the
   * vision placeholders are never sampled. A response ends at a stop id, a stop sequence, or as soon as its text holds a stop string; the
   * token that ended it stays in it. The weights must stay as they are as long as anything is under way, and the pixels of pictures until the
   * next turn of the event loop, when they are copied once for all requests that show them; of everything else the call takes a copy.
   *
   * @throws INVALID_ARGUMENT  an option outside its domain; more tokens than the cache can hold; weights were written meanwhile
   * @throws NON_FINITE        logits of a response are NaN or infinite
   * @throws ABORTED           by the signal
   * @throws DISPOSED          the policy has been disposed
   */
  submit(request: SamplingRequest, options: SubmitOptions = {}): Promise<Generated[]> {
    return this.#sampler.submit(request, options);
  }

  /** The same for several prompts: [prompts][n]. Rollouts are numbered through. @throws as `submit`; the others are stopped then */
  async generate(prompts: readonly EncodedPrompt[], given: GenerateOptions): Promise<Generated[][]> {
    wantList('generate', 'prompts', prompts);
    wantOptions('generate', 'options', given, ['signal', ...SAMPLING_KEYS]);
    const { signal, ...options } = given;
    const { n = 1, rolloutOffset = 0 } = options;
    const failed = new AbortController();
    const either = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
    const all = Array.from(prompts, (prompt, p) =>
      this.submit({ ...options, prompt, rolloutOffset: rolloutOffset + p * n }, { signal: either }),
    );
    try {
      return await Promise.all(all);
    } catch (error) {
      failed.abort();
      await Promise.allSettled(all);
      throw error;
    }
  }

  zeroGradients(): void {
    callNative(() => this.#native.zeroGradients());
  }

  /** Weights follow what they are made of: to be called whenever something of `trained` has been written into. */
  refresh(): void {
    this.#wantThere();
    for (const adapter of this.#set.adapters) merge(adapter);
  }

  /** Writes the folder with the present weights, whole or not at all. @throws IO */
  async save(
    dir: string,
    { dtype = 'bfloat16', expertLayout }: { dtype?: 'bfloat16' | 'float32'; expertLayout?: ExpertLayout } = {},
  ): Promise<void> {
    this.#wantThere();
    const { parameters, config } = this;
    const files = { ...this.#files };
    async function* weights() {
      for (const { name, shape, weight } of parameters) yield { name, shape, data: await readWide(weight) };
    }
    await writeCheckpoint(dir, { files, tensors: weights(), config, dtype, ...(expertLayout && { expertLayout }) });
  }

  /**
   * Writes the adapters alone, in PEFT's format and f32, whole or not at all.
   *
   * @throws INVALID_ARGUMENT  the policy has none
   * @throws IO
   */
  async saveAdapter(dir: string): Promise<void> {
    this.#wantThere();
    if (!this.#lora) throw new G2rpoError('INVALID_ARGUMENT', 'saveAdapter: the policy was loaded without lora');
    const tensors = tensorNames(this.config);
    await writePeft(dir, this.#set.adapters, { base: this.dir, alpha: this.#lora.alpha, tensors });
  }

  /** Frees the weights when passes that were asked for have ended. What is being sampled is rejected, and whatever is asked from now on. */
  dispose(): void {
    this.#disposed = true;
    this.#native.release();
    disposeParameters(this.#set);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #wantThere(): void {
    if (this.#disposed) throw new G2rpoError('DISPOSED', 'the policy has been disposed');
  }

  async #call<T>(f: () => Promise<unknown>): Promise<T> {
    try {
      return (await callNative(f)) as T;
    } catch (error) {
      throw fromNative(error);
    }
  }
}
