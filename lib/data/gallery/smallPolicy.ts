import { parseModelConfig } from '../../model/qwen3vl/config.ts';
import { initialWeights } from '../../model/qwen3vl/init.ts';
import { parameterCount } from '../../model/qwen3vl/tensorNames.ts';
import { writeCheckpoint } from '../../model/qwen3vl/writeCheckpoint.ts';
import { buildTokenizer, type BuiltTokenizer } from './tokenizer.ts';

/** Sizes of a policy for the gallery; the architecture is the whole Qwen3-VL whatever they are. */
export interface SmallPolicySizes {
  hidden: number;
  layers: number;
  heads: number;
  kvHeads: number;
  mlp: number;
  visionHidden: number;
  visionDepth: number;
  visionHeads: number;
  visionMlp: number;
}

export interface SmallPolicyOptions extends Partial<SmallPolicySizes> {
  seed?: number;
  /** side of the pictures in pixels; patches are 8 pixels, a visual token 16 */
  imageSize?: number;
}

const SIZES: SmallPolicySizes = {
  ...{ hidden: 128, layers: 4, heads: 8, kvHeads: 2, mlp: 384 },
  ...{ visionHidden: 96, visionDepth: 4, visionHeads: 4, visionMlp: 256 },
};
const [HEAD_DIM, PATCH, MERGE] = [32, 8, 2];

/**
 * Writes the checkpoint folder of an untrained policy that suits the gallery: a small Qwen3-VL with everything the large
 * ones have (vision tower, DeepStack, interleaved M-RoPE, grouped queries, tied head), and the gallery's tokenizer.
 *
 * @returns how many parameters it has
 * @throws INVALID_CHECKPOINT  sizes that make no model
 * @throws IO  the folder could not be written
 */
export async function writeSmallPolicy(dir: string, options: SmallPolicyOptions = {}): Promise<number> {
  const { seed = 1, imageSize = 64, ...sizes } = options;
  const tokenizer = buildTokenizer();
  const json = configJson({ ...SIZES, ...sizes }, tokenizer, imageSize);
  const config = parseModelConfig(json, `${dir}/config.json`);
  await writeCheckpoint(dir, {
    files: {
      ...tokenizer.files,
      'config.json': text(json),
      'generation_config.json': text(generationJson(tokenizer)),
      'preprocessor_config.json': text(processorJson(imageSize)),
      'video_preprocessor_config.json': text(videoJson(imageSize)),
    },
    tensors: initialWeights(config, seed),
    config,
    dtype: 'float32',
  });
  return parameterCount(config);
}

function configJson(sizes: SmallPolicySizes, { ids, size }: BuiltTokenizer, imageSize: number) {
  return {
    architectures: ['Qwen3VLForConditionalGeneration'],
    model_type: 'qwen3_vl',
    tie_word_embeddings: true,
    image_token_id: ids['<|image_pad|>'],
    video_token_id: ids['<|video_pad|>'],
    vision_start_token_id: ids['<|vision_start|>'],
    vision_end_token_id: ids['<|vision_end|>'],
    text_config: {
      model_type: 'qwen3_vl_text',
      attention_bias: false,
      attention_dropout: 0,
      bos_token_id: ids['<|endoftext|>'],
      dtype: 'float32',
      eos_token_id: ids['<|im_end|>'],
      head_dim: HEAD_DIM,
      hidden_act: 'silu',
      hidden_size: sizes.hidden,
      initializer_range: 0.02,
      intermediate_size: sizes.mlp,
      max_position_embeddings: 4096,
      num_attention_heads: sizes.heads,
      num_hidden_layers: sizes.layers,
      num_key_value_heads: sizes.kvHeads,
      rms_norm_eps: 1e-6,
      rope_scaling: { mrope_interleaved: true, mrope_section: [6, 5, 5], rope_type: 'default' },
      rope_theta: 5_000_000,
      use_cache: true,
      vocab_size: Math.ceil(size / 8) * 8,
    },
    vision_config: {
      model_type: 'qwen3_vl',
      deepstack_visual_indexes: [0, 1, 2].filter((block) => block < sizes.visionDepth),
      depth: sizes.visionDepth,
      hidden_act: 'gelu_pytorch_tanh',
      hidden_size: sizes.visionHidden,
      in_channels: 3,
      initializer_range: 0.02,
      intermediate_size: sizes.visionMlp,
      num_heads: sizes.visionHeads,
      num_position_embeddings: Math.ceil(imageSize / PATCH) ** 2,
      out_hidden_size: sizes.hidden,
      patch_size: PATCH,
      spatial_merge_size: MERGE,
      temporal_patch_size: 2,
    },
  };
}

const generationJson = ({ ids }: BuiltTokenizer) => ({
  bos_token_id: ids['<|endoftext|>'],
  do_sample: true,
  eos_token_id: [ids['<|im_end|>'], ids['<|endoftext|>']],
  pad_token_id: ids['<|endoftext|>'],
  temperature: 1,
  top_k: 0,
  top_p: 1,
});

/** Areas in pixels: the gallery's pictures pass as they are. */
const processorJson = (imageSize: number) => ({
  image_processor_type: 'Qwen2VLImageProcessorFast',
  size: { shortest_edge: Math.min(4096, imageSize ** 2), longest_edge: Math.max(65536, imageSize ** 2) },
  patch_size: PATCH,
  temporal_patch_size: 2,
  merge_size: MERGE,
  image_mean: [0.5, 0.5, 0.5],
  image_std: [0.5, 0.5, 0.5],
});

/** Of up to 16 frames: a clip in which each is as large as the gallery's pictures passes as it is. */
const videoJson = (imageSize: number) => ({
  ...processorJson(imageSize),
  image_processor_type: undefined,
  video_processor_type: 'Qwen3VLVideoProcessor',
  size: { shortest_edge: 4096, longest_edge: 16 * Math.max(4096, imageSize ** 2) },
  fps: 2,
  min_frames: 4,
  max_frames: 16,
});

const text = (json: unknown) => `${JSON.stringify(json, null, 2)}\n`;
