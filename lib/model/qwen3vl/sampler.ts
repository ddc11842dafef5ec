import { describe, G2rpoError, refuse, wantList, wantObject, wantOptions } from '../../runtime/errors.ts';
import { callNative, fromNative, type NativePolicy, type NativeResponse } from '../../runtime/native.ts';
import type { ModelConfig } from './config.ts';
import { wantDivisor } from './divisor.ts';
import type { EncodedPrompt, PromptEncoder } from './encodePrompt.ts';
import { packPrompts, toNative, wantPrompt } from './policyBatch.ts';

export type Reals = Float32Array | Float64Array;

/** How a prompt is to be answered. */
export interface SamplingOptions {
  /** responses per prompt */
  n?: number;
  /** at most so many tokens, the stop token included */
  maxTokens: number;
  /** 0 takes the most probable token */
  temperature?: number;
  topP?: number;
  topK?: number;
  repetitionPenalty?: number;
  /** ids that end a response; default those of the tokenizer */
  stopIds?: readonly number[];
  /** tokens that end a response as well when they are its last; they stay in it */
  stopSequences?: readonly (readonly number[])[];
  /**
   * texts that end a response as well, as soon as its text (control tokens left out) holds one, whatever tokens it came by. The token
   * that completed it stays in the response, with what it says behind the text
   */
  stopStrings?: readonly string[];
  /** the draws are a pure function of seed, step, rolloutOffset + rollout and token; all are taken modulo 2³² */
  seed?: number;
  step?: number;
  rolloutOffset?: number;
}

export const SAMPLING_KEYS = [
  ...(['n', 'maxTokens', 'temperature', 'topP', 'topK', 'repetitionPenalty'] as const),
  ...(['stopIds', 'stopSequences', 'stopStrings', 'seed', 'step', 'rolloutOffset'] as const),
] satisfies (keyof SamplingOptions)[];

/** A prompt with how it is to be answered. */
export interface SamplingRequest extends SamplingOptions {
  prompt: EncodedPrompt;
}

/** A sampled response. */
export interface Generated {
  tokens: Int32Array;
  /** of softmax(logits / temperature) over the whole vocabulary, whatever the filters; at temperature 1 when greedy */
  logProbs: Reals;
  entropy: Reals;
  finish: 'stop' | 'length';
  /**
   * of a response that was stopped: the id, the sequence or the string that ended it. Of several that one token completes an id comes before a
   * sequence and that before a string, of strings the one that is whole first, and then the one that was given first
   */
  stoppedBy?: number | readonly number[] | string;
}

export interface SubmitOptions {
  signal?: AbortSignal | undefined;
  /** is told of every response as it ends, in any order */
  onResponse?: (response: Generated, index: number) => void;
}

/** What bounds the memory of sampling; no result depends on it. */
export interface EngineOptions {
  /** MB of keys and values at most; without it as many as are needed */
  cacheMb?: number | undefined;
  /** responses sampled at a time, at most */
  rollouts?: number;
  /** tokens of a page of the cache */
  pageTokens?: number;
  /** rows of prompts in a forward pass, at most; a multiple of 128 */
  promptRows?: number;
}
export const ENGINE_DEFAULTS = { rollouts: 1024, pageTokens: 16, promptRows: 2048 };

const ENGINE_KEYS = ['rollouts', 'pageTokens', 'promptRows'] as const;

/** What the native side takes. @throws INVALID_ARGUMENT  cacheMb is not positive; an option that there is not */
export function engineOptions(options: EngineOptions) {
  wantOptions('engine', 'options', options, ['cacheMb', ...ENGINE_KEYS]);
  const { cacheMb } = options;
  if (cacheMb !== undefined && !(cacheMb > 0))
    throw new G2rpoError('INVALID_ARGUMENT', `engine: cacheMb must be above 0; got ${cacheMb}`, { got: cacheMb });
  const given = Object.fromEntries(
    ENGINE_KEYS.map((key) => [key, options[key] === undefined ? ENGINE_DEFAULTS[key] : options[key]]),
  ) as typeof ENGINE_DEFAULTS;
  return { ...given, cacheBytes: (cacheMb ?? 0) * 1e6 };
}

type Submitted = ReturnType<NativePolicy['submit']>[number];
interface Waiting {
  request: SamplingRequest;
  signal: AbortSignal | undefined;
  begin: (submitted: Submitted) => void;
  refuse: (reason: unknown) => void;
}

const listeners = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls `stop` when the signal aborts; returns how to forget it. Many may wait for one signal, which has one listener for all. */
function whenAborted(signal: AbortSignal, stop: () => void): () => void {
  const all = listeners.get(signal) ?? new Set();
  if (!listeners.has(signal)) {
    listeners.set(signal, all);
    signal.addEventListener('abort', () => all.forEach((each) => each()), { once: true });
  }
  all.add(stop);
  return () => void all.delete(stop);
}

/** Responses to one prompt: each is a promise from the beginning. */
const MOST_RESPONSES = 65_536;
const FAR = 2 ** 30; // positions from which sums would leave 32 bits

/** What the native side takes as it is. @throws INVALID_ARGUMENT  naming what was wanted and what came */
function checkRequest(request: SamplingRequest, config: ModelConfig): void {
  const { prompt, n = 1 } = request;
  const { vocab } = config.text;
  const want = (holds: boolean, what: string, got: unknown) => {
    if (!holds) throw new G2rpoError('INVALID_ARGUMENT', `generate: ${what}; got ${String(got)}`, { got });
  };
  const whole = (x: unknown) => Number.isSafeInteger(x);
  want(whole(n) && n >= 1 && n <= MOST_RESPONSES, `n must be a whole number from 1 to ${MOST_RESPONSES}`, n);
  want(
    whole(request.maxTokens) && request.maxTokens >= 1,
    'maxTokens must be a whole number from 1',
    request.maxTokens,
  );
  const { temperature = 1, repetitionPenalty = 1 } = request;
  if (temperature !== 0) wantDivisor('generate: temperature, if not 0,', temperature);
  wantDivisor('generate: repetitionPenalty', repetitionPenalty);
  for (const key of ['seed', 'step', 'rolloutOffset'] as const)
    want(request[key] === undefined || whole(request[key]), `${key} must be a whole number`, request[key]);
  const ids = (key: string, list: unknown) => {
    wantList('generate', key, list);
    for (const id of list as readonly number[])
      want(whole(id) && id >= 0 && id < vocab, `${key} must hold ids below ${vocab}`, id);
  };
  if (request.stopIds !== undefined) ids('stopIds', request.stopIds);
  const { stopSequences = [] } = request;
  wantList('generate', 'stopSequences', stopSequences);
  for (let i = 0; i < stopSequences.length; i++) ids(`stopSequences[${i}]`, stopSequences[i]);
  const { stopStrings = [] } = request;
  wantList('generate', 'stopStrings', stopStrings);
  for (const [i, text] of Array.from(stopStrings).entries()) {
    if (typeof text !== 'string' || text === '')
      refuse('generate', `stopStrings[${i}]`, 'must be a text of at least one character', describe(text));
    if (/\p{Surrogate}/u.test(text))
      refuse('generate', `stopStrings[${i}]`, 'must be text without lone surrogates', describe(text));
  }
  wantPrompt(prompt, config.vision.merge);
  const { inputIds, positionIds, ropeDelta } = prompt;
  want(
    positionIds.length === 3 * inputIds.length,
    `positionIds must have ${3 * inputIds.length} entries`,
    positionIds.length,
  );
  want(whole(ropeDelta) && Math.abs(ropeDelta) < FAR, `ropeDelta must be a whole number below ${FAR}`, ropeDelta);
}

/** What the native side says of a response, by what the request asked for. */
function generated({ stop, stopIndex, ...response }: NativeResponse, request: SamplingRequest): Generated {
  if (stop === 'length') return { ...response, finish: 'length' };
  const stoppedBy = {
    id: response.tokens.at(-1)!,
    sequence: request.stopSequences?.[stopIndex] ?? [],
    string: request.stopStrings?.[stopIndex] ?? '',
  }[stop];
  return { ...response, finish: 'stop', stoppedBy };
}

/** A request that stays as it is, whatever becomes of the caller's; pixels are large, and are copied once, when they are handed over. */
function copied(request: SamplingRequest): SamplingRequest {
  const { inputIds, positionIds, visualRows, ropeDelta, images } = request.prompt;
  const prompt = {
    ...{ inputIds: new Int32Array(inputIds), positionIds: new Int32Array(positionIds) },
    ...{ visualRows: new Int32Array(visualRows), ropeDelta, images: [...images] },
  };
  const { stopIds, stopSequences, stopStrings } = request;
  const given = SAMPLING_KEYS.map((key) => [key, request[key]] as const).filter(([, value]) => value !== undefined);
  return {
    ...(Object.fromEntries(given) as unknown as Omit<SamplingRequest, 'prompt'>),
    prompt,
    ...(stopIds && { stopIds: Array.from(stopIds) }),
    ...(stopSequences && { stopSequences: Array.from(stopSequences, (sequence) => Array.from(sequence)) }),
    ...(stopStrings && { stopStrings: Array.from(stopStrings) }),
  };
}

const stopped = () => new G2rpoError('ABORTED', 'generate: stopped by the caller');

/** Hands requests to the native engine: those that come together go together, so that a picture which several show is computed once. */
export class Sampler {
  readonly #native: NativePolicy;
  readonly #encoder: PromptEncoder;
  readonly #bannedIds: Int32Array;
  #waiting: Waiting[] = [];
  #handingOver = false;

  constructor(native: NativePolicy, encoder: PromptEncoder) {
    const { ids } = encoder.config;
    const placeholders = [
      ids.image,
      ids.video,
      ids.visionStart,
      ids.visionEnd,
      encoder.tokenizer.idOf('<|vision_pad|>'),
    ];
    this.#bannedIds = Int32Array.from(placeholders.filter((id) => id !== undefined));
    this.#native = native;
    this.#encoder = encoder;
  }

  /** See `Policy.submit`. */
  async submit(request: SamplingRequest, options: SubmitOptions = {}): Promise<Generated[]> {
    wantObject('generate', 'request', request);
    wantOptions('generate', 'options', options, ['signal', 'onResponse']);
    checkRequest(request, this.#encoder.config);
    const own = copied(request);
    const { signal, onResponse } = options;
    if (signal !== undefined && !(signal instanceof AbortSignal))
      refuse('generate', 'signal', 'must be an AbortSignal', describe(signal));
    let id: number | undefined;
    const stop = () => {
      if (id === undefined) return;
      try {
        this.#native.abort(id);
      } catch {
        // disposed meanwhile: what was under way is rejected
      }
    };
    const forget = signal && whenAborted(signal, stop);
    try {
      const submitted = await new Promise<Submitted>((begin, refuse) => {
        this.#waiting.push({ request: own, signal, begin, refuse });
        if (!this.#handingOver) void this.#handOver();
      });
      id = submitted.id;
      if (signal?.aborted) stop(); // before it had a number
      return await Promise.all(
        submitted.responses.map(async (promise, index) => {
          const response = generated(await promise, own);
          onResponse?.(response, index);
          return response;
        }),
      );
    } catch (error) {
      stop(); // nobody waits for the others
      throw fromNative(error);
    } finally {
      forget?.();
    }
  }

  async #handOver(): Promise<void> {
    this.#handingOver = true;
    await new Promise(setImmediate); // what is asked for in one go
    while (this.#waiting.length > 0) {
      const together = this.#waiting.splice(0);
      // what is wrong with one request is not the fault of the others
      await this.#begin(together).catch(async (reason: unknown) => {
        if (together.length === 1) together[0]!.refuse(reason);
        else for (const one of together) await this.#begin([one]).catch(one.refuse);
      });
    }
    this.#handingOver = false;
  }

  async #begin(all: readonly Waiting[]): Promise<void> {
    for (const { signal, refuse } of all) if (signal?.aborted) refuse(stopped());
    const wanted = all.filter(({ signal }) => !signal?.aborted);
    if (wanted.length === 0) return;
    const { vision } = this.#encoder.config;
    const prompts = wanted.map(({ request }) => request.prompt);
    const batch = toNative(packPrompts(prompts, vision.merge), this.#encoder);
    const ropeDelta = Int32Array.from(prompts, (prompt) => prompt.ropeDelta);
    const options = wanted.map(({ request }) => this.#nativeOptions(request));
    const submitted = callNative(() => this.#native.submit({ ...batch, ropeDelta }, options));
    wanted.forEach(({ begin }, i) => begin(submitted[i]!));
  }

  #nativeOptions(request: SamplingRequest) {
    const { n = 1, maxTokens, temperature = 1, topP = 1, topK = 0, repetitionPenalty = 1 } = request;
    const { stopIds = this.#encoder.tokenizer.stopIds, stopSequences = [], stopStrings = [] } = request;
    const { seed = 0, step = 0, rolloutOffset = 0 } = request;
    return {
      ...{ n, maxTokens, temperature, topP, topK, repetitionPenalty },
      ...{ seed: seed | 0, step: step | 0, rolloutOffset: rolloutOffset | 0 },
      stopIds: Int32Array.from(stopIds),
      stopSequences: stopSequences.map((sequence) => Int32Array.from(sequence)),
      stopStrings: stopStrings.map((text) => new TextEncoder().encode(text)),
      bannedIds: this.#bannedIds,
    };
  }
}
