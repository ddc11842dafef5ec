import { G2rpoError } from '../../runtime/errors.ts';
import { ConfigReader } from './configReader.ts';

export type WeightDtype = 'bfloat16' | 'float16' | 'float32';

/** More is a mistake in the file, and would be a list of names without end. */
const MOST_LAYERS = 4096;

/** Experts, which take the place of the MLP in every text layer. */
export interface MoeConfig {
  experts: number;
  /** experts that a token goes through */
  active: number;
  /** width of an expert */
  mlp: number;
  /** whether the weights of the experts of a token sum to 1 */
  normalise: boolean;
}

/** Everything that the shapes and the arithmetic of a Qwen3-VL depend on. Sizes are counts of elements. */
export interface ModelConfig {
  text: {
    hidden: number;
    layers: number;
    heads: number;
    kvHeads: number;
    /** heads · headDim need not be `hidden` */
    headDim: number;
    /** not used where there are experts */
    mlp: number;
    moe?: MoeConfig;
    vocab: number;
    ropeTheta: number;
    /** rotary frequencies that follow the T, H and W position; their sum is headDim / 2 */
    mropeSection: [number, number, number];
    rmsNormEps: number;
  };
  vision: {
    depth: number;
    hidden: number;
    heads: number;
    mlp: number;
    /** pixels along a side of a patch */
    patch: number;
    temporalPatch: number;
    /** patches along a side of a visual token */
    merge: number;
    /** rows of the learned position table, a square number */
    positions: number;
    /** vision blocks, counted from 0, whose output goes to a DeepStack merger */
    taps: number[];
    outHidden: number;
  };
  /** whether the head is the embedding table */
  tied: boolean;
  ids: { image: number; video: number; visionStart: number; visionEnd: number };
  /** what the configuration says the weights are stored in */
  dtype: WeightDtype;
}

/**
 * The model that a parsed `config.json` describes, in either spelling: `rope_theta` + `rope_scaling`, or `rope_parameters`.
 *
 * No class default is trusted: a size that is absent is a problem. Two keys may be absent: `dtype` (bfloat16, as in every
 * release) and `tie_word_embeddings`, which the presence of a stored head then decides.
 *
 * @param file named in messages
 * @param storesHead whether `lm_head.weight` is among the weights; leave out when there are none yet
 * @throws INVALID_CHECKPOINT  another architecture, or any number of unusable keys, all at once
 */
export function parseModelConfig(json: unknown, file: string, storesHead?: boolean): ModelConfig {
  const read = new ConfigReader(json);
  const text = readText(read, hasExperts(read, file));
  const vision = readVision(read);
  const config: ModelConfig = {
    text,
    vision,
    tied: readTied(read, storesHead),
    ids: {
      image: read.integer('image_token_id', 0),
      video: read.integer('video_token_id', 0),
      visionStart: read.integer('vision_start_token_id', 0),
      visionEnd: read.integer('vision_end_token_id', 0),
    },
    dtype: readDtype(read),
  };
  if (read.problems.length === 0) checkConsistency(config, read);
  read.finish(file);
  return config;
}

/** Which of the two architectures it is. */
function hasExperts(read: ConfigReader, file: string): boolean {
  const came = [read.raw('model_type'), ...[read.raw('architectures')].flat()].filter((x) => typeof x === 'string');
  const of = (type: string, name: string) => came.includes(type) || came.includes(name);
  const dense = of('qwen3_vl', 'Qwen3VLForConditionalGeneration');
  if (dense !== of('qwen3_vl_moe', 'Qwen3VLMoeForConditionalGeneration')) return !dense;
  const got = came.length > 0 ? came.join(', ') : JSON.stringify(read.raw('model_type'));
  const problem = `model_type must be "qwen3_vl" or "qwen3_vl_moe"; got ${got}`;
  throw new G2rpoError('INVALID_CHECKPOINT', `${file}: ${problem}`, { file, architecture: came });
}

/** The original spelling of the number of experts, or that of a file that was saved again; the other keys have one. */
function readMoe(read: ConfigReader): MoeConfig {
  const at = 'text_config';
  const experts = [`${at}.num_experts`, `${at}.num_local_experts`].find((key) => read.has(key));
  read.expect(`${at}.decoder_sparse_step`, 1);
  const dense = read.raw(`${at}.mlp_only_layers`) ?? [];
  if (!Array.isArray(dense) || dense.length > 0)
    read.problem(`${at}.mlp_only_layers must be []; got ${JSON.stringify(dense)}`);
  const moe: MoeConfig = {
    experts: read.integer(experts ?? `${at}.num_experts`),
    active: read.integer(`${at}.num_experts_per_tok`),
    mlp: read.integer(`${at}.moe_intermediate_size`),
    normalise: read.has(`${at}.norm_topk_prob`) ? read.boolean(`${at}.norm_topk_prob`) : true,
  };
  if (moe.active > moe.experts)
    read.problem(`${at}.num_experts_per_tok must be at most num_experts ${moe.experts}; got ${moe.active}`);
  return moe;
}

function readText(read: ConfigReader, withExperts: boolean): ModelConfig['text'] {
  const at = 'text_config';
  const rope = [`${at}.rope_parameters`, `${at}.rope_scaling`].find((key) => read.isObject(key));
  if (rope === undefined) read.problem(`${at}.rope_scaling or rope_parameters is missing`);
  const theta = rope !== undefined && read.has(`${rope}.rope_theta`) ? `${rope}.rope_theta` : `${at}.rope_theta`;
  read.expect(`${at}.hidden_act`, 'silu');
  read.expect(`${at}.attention_bias`, false);
  if (rope !== undefined) {
    read.expect(`${rope}.rope_type`, 'default');
    read.expect(`${rope}.mrope_interleaved`, true);
  }
  return {
    hidden: read.integer(`${at}.hidden_size`),
    layers: read.integer(`${at}.num_hidden_layers`, 1, MOST_LAYERS),
    heads: read.integer(`${at}.num_attention_heads`),
    kvHeads: read.integer(`${at}.num_key_value_heads`),
    headDim: read.integer(`${at}.head_dim`),
    mlp: read.integer(`${at}.intermediate_size`),
    ...(withExperts && { moe: readMoe(read) }),
    vocab: read.integer(`${at}.vocab_size`),
    ropeTheta: read.positive(theta),
    mropeSection: rope === undefined ? [0, 0, 0] : read.triple(`${rope}.mrope_section`),
    rmsNormEps: read.positive(`${at}.rms_norm_eps`),
  };
}

function readVision(read: ConfigReader): ModelConfig['vision'] {
  const at = 'vision_config';
  read.expect(`${at}.hidden_act`, 'gelu_pytorch_tanh');
  read.expect(`${at}.in_channels`, 3);
  return {
    depth: read.integer(`${at}.depth`, 1, MOST_LAYERS),
    hidden: read.integer(`${at}.hidden_size`),
    heads: read.integer(`${at}.num_heads`),
    mlp: read.integer(`${at}.intermediate_size`),
    patch: read.integer(`${at}.patch_size`),
    temporalPatch: read.integer(`${at}.temporal_patch_size`),
    merge: read.integer(`${at}.spatial_merge_size`),
    positions: read.integer(`${at}.num_position_embeddings`),
    taps: read.integers(`${at}.deepstack_visual_indexes`),
    outHidden: read.integer(`${at}.out_hidden_size`),
  };
}

/** Two places may speak of it; where they disagree or are silent, the weights decide. */
function readTied(read: ConfigReader, storesHead: boolean | undefined): boolean {
  const said = ['tie_word_embeddings', 'text_config.tie_word_embeddings'].filter((key) => read.has(key));
  const values = new Set(said.map((key) => read.boolean(key)));
  if (values.size === 1) return values.has(true);
  if (storesHead !== undefined) return !storesHead;
  if (values.size === 0) read.problem('tie_word_embeddings is missing, and there are no weights to tell');
  else
    read.problem('tie_word_embeddings and text_config.tie_word_embeddings disagree, and there are no weights to tell');
  return true;
}

function readDtype(read: ConfigReader): WeightDtype {
  for (const at of ['', 'text_config.', 'vision_config.'])
    for (const name of ['dtype', 'torch_dtype']) {
      const value = read.raw(at + name);
      if (value === undefined || value === null) continue;
      if (value === 'bfloat16' || value === 'float16' || value === 'float32') return value;
      read.problem(`${at}${name} must be bfloat16, float16 or float32; got ${JSON.stringify(value)}`);
    }
  return 'bfloat16';
}

function checkConsistency({ text, vision, ids }: ModelConfig, read: ConfigReader): void {
  const want = (holds: boolean, message: string) => holds || read.problem(message);
  const [t, h, w] = text.mropeSection;
  const half = text.headDim / 2;
  want(text.headDim % 2 === 0, `text_config.head_dim must be even; got ${text.headDim}`);
  want(t + h + w === half, `mrope_section must sum to head_dim / 2 = ${half}; got [${t}, ${h}, ${w}]`);
  want(3 * h <= half + 1 && 3 * w <= half, `mrope_section [${t}, ${h}, ${w}] does not fit interleaved into ${half}`);
  want(
    text.heads % text.kvHeads === 0,
    `text_config.num_attention_heads ${text.heads} must be a multiple of num_key_value_heads ${text.kvHeads}`,
  );
  want(
    vision.hidden % (4 * vision.heads) === 0,
    `vision_config.hidden_size / num_heads must be a multiple of 4; got ${vision.hidden} / ${vision.heads}`,
  );
  want(vision.merge === 2, `vision_config.spatial_merge_size must be 2; got ${vision.merge}`);
  want(vision.temporalPatch === 2, `vision_config.temporal_patch_size must be 2; got ${vision.temporalPatch}`);
  want(
    Number.isInteger(Math.sqrt(vision.positions)),
    `vision_config.num_position_embeddings must be a square; got ${vision.positions}`,
  );
  want(
    vision.outHidden === text.hidden,
    `vision_config.out_hidden_size must be text_config.hidden_size = ${text.hidden}; got ${vision.outHidden}`,
  );
  const rising = vision.taps.every((tap, k) => tap < vision.depth && (k === 0 || tap > vision.taps[k - 1]!));
  want(
    rising,
    `vision_config.deepstack_visual_indexes must rise and stay below depth ${vision.depth}; got [${vision.taps.join(', ')}]`,
  );
  want(
    vision.taps.length <= text.layers,
    `vision_config.deepstack_visual_indexes has ${vision.taps.length} taps for ${text.layers} text layers`,
  );
  const tokens = Object.values(ids);
  want(
    tokens.every((id) => id < text.vocab),
    `token ids [${tokens.join(', ')}] must be below text_config.vocab_size ${text.vocab}`,
  );
  want(new Set(tokens).size === tokens.length, `image, video, vision_start and vision_end token ids must differ`);
}
