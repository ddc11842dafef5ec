import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '../../../lib/model/qwen3vl/config.ts';
import { parameterCount, tensorNames } from '../../../lib/model/qwen3vl/tensorNames.ts';
import { goldenJson } from '../../support/goldenModel.ts';
import { nanoMoe } from '../../support/syntheticCheckpoint.ts';
import { thrownBy } from '../../support/thrown.ts';

type Json = Record<string, unknown> & { text_config: Record<string, unknown>; vision_config: Record<string, unknown> };
const tiny = () => goldenJson<Json>('checkpoints/tiny/config.json');

/** A release with experts, whose sizes stand behind those of a dense one. */
function releaseWithExperts(row: number[]): Json {
  const [keyHeads, active, mlp] = row.slice(4);
  const dense = release(row, 'large', false);
  const moe = {
    ...{ num_key_value_heads: keyHeads, num_experts: 128, num_experts_per_tok: active, moe_intermediate_size: mlp },
    ...{ decoder_sparse_step: 1, mlp_only_layers: [], norm_topk_prob: true },
  };
  return {
    ...dense,
    architectures: ['Qwen3VLMoeForConditionalGeneration'],
    model_type: 'qwen3_vl_moe',
    text_config: { ...dense.text_config, ...moe },
  };
}

/** A release in its original spelling, sizes in the order of the columns below. */
function release(row: number[], tower: 'small' | 'large', tied: boolean): Json {
  const [hidden, layers, heads, mlp] = row;
  const small = tower === 'small';
  return {
    ...tiny(),
    ...{ image_token_id: 151655, video_token_id: 151656, vision_start_token_id: 151652, vision_end_token_id: 151653 },
    tie_word_embeddings: tied,
    text_config: {
      ...{ hidden_size: hidden, num_hidden_layers: layers, num_attention_heads: heads, num_key_value_heads: 8 },
      ...{ head_dim: 128, intermediate_size: mlp, vocab_size: 151936, rms_norm_eps: 1e-6, hidden_act: 'silu' },
      rope_theta: 5000000,
      rope_scaling: { mrope_interleaved: true, mrope_section: [24, 20, 20], rope_type: 'default' },
    },
    vision_config: {
      ...tiny().vision_config,
      ...(small ? { depth: 24, hidden_size: 1024 } : { depth: 27, hidden_size: 1152 }),
      ...{ num_heads: 16, intermediate_size: small ? 4096 : 4304, num_position_embeddings: 2304 },
      deepstack_visual_indexes: small ? [5, 11, 17] : [8, 16, 24],
      out_hidden_size: hidden,
    },
  };
}

describe('the releases', () => {
  it.each([
    ['2B', release([2048, 28, 16, 6144], 'small', true), 2_127_532_032, 625],
    ['4B', release([2560, 36, 32, 9728], 'small', true), 4_437_815_808, 713],
    ['8B', release([4096, 36, 32, 12288], 'large', false), 8_767_123_696, 750],
    ['32B', release([5120, 64, 64, 25600], 'large', false), 33_357_390_064, 1058],
    ['30B-A3B', releaseWithExperts([2048, 48, 32, 6144, 4, 8, 768]), 31_070_754_032, 882],
    ['235B-A22B', releaseWithExperts([4096, 94, 64, 12288, 4, 8, 1536]), 235_670_022_896, 1388],
  ])('%s has its number of parameters and tensors', (_, json, parameters, tensors) => {
    const config = parseModelConfig(json, 'config.json');
    expect(parameterCount(config)).toBe(parameters);
    expect(tensorNames(config)).toHaveLength(tensors);
  });

  it.each([
    ['tiny', 2_535_904],
    ['tiny-untied', 2_666_976],
    ['tiny-moe', 2_736_608],
    ['nano', 196_368],
  ])('%s has %i parameters', (name, parameters) => {
    expect(parameterCount(parseModelConfig(goldenJson(`checkpoints/${name}/config.json`), name))).toBe(parameters);
  });
});

describe('spellings', () => {
  it.each(['tiny', 'tiny-untied', 'tiny-moe', 'nano'])('%s reads the same in both', (name) => {
    const original = parseModelConfig(goldenJson(`checkpoints/${name}/config.json`), name);
    expect(parseModelConfig(goldenJson(`checkpoints/${name}/config.resaved-5.18.json`), name)).toEqual(original);
  });

  it('reads every field of tiny', () => {
    expect(parseModelConfig(tiny(), 'config.json')).toEqual({
      text: {
        ...{ hidden: 128, layers: 4, heads: 8, kvHeads: 2, headDim: 32, mlp: 384, vocab: 1024 },
        ...{ ropeTheta: 5e6, mropeSection: [6, 5, 5], rmsNormEps: 1e-6 },
      },
      vision: {
        ...{ depth: 6, hidden: 96, heads: 4, mlp: 256, patch: 16, temporalPatch: 2, merge: 2 },
        ...{ positions: 256, taps: [1, 2, 4], outHidden: 128 },
      },
      tied: true,
      ids: { image: 1010, video: 1011, visionStart: 1007, visionEnd: 1008 },
      dtype: 'bfloat16',
    });
  });

  it('takes tie_word_embeddings from either place, and from the weights where both are silent or disagree', () => {
    const silent = { ...tiny(), tie_word_embeddings: undefined };
    const inside = { ...silent, text_config: { ...tiny().text_config, tie_word_embeddings: false } };
    const torn = { ...inside, tie_word_embeddings: true };
    expect(parseModelConfig(inside, 'f').tied).toBe(false);
    expect(parseModelConfig(silent, 'f', true).tied).toBe(false);
    expect(parseModelConfig(silent, 'f', false).tied).toBe(true);
    expect(parseModelConfig(torn, 'f', true).tied).toBe(false);
    expect(thrownBy(() => parseModelConfig(silent, 'f')).message).toMatch(/tie_word_embeddings is missing/);
    expect(thrownBy(() => parseModelConfig(torn, 'f')).message).toMatch(/disagree/);
  });

  it('reads experts, under either name of their number', () => {
    const moe = (change: object = {}) =>
      parseModelConfig(nanoMoe({ num_experts: undefined, num_local_experts: 9, ...change }), 'f').text.moe;
    expect(moe()).toEqual({ experts: 9, active: 2, mlp: 20, normalise: true });
    expect(moe({ num_experts: 7, norm_topk_prob: false })).toEqual({
      experts: 7,
      active: 2,
      mlp: 20,
      normalise: false,
    });
    const file = 'checkpoints/tiny-moe/config.json';
    expect(parseModelConfig(goldenJson(file), file).text.moe).toEqual({
      experts: 8,
      active: 2,
      mlp: 64,
      normalise: true,
    });
    expect(parseModelConfig(tiny(), 'f').text).not.toHaveProperty('moe');
  });

  it('takes dtype from any of its places', () => {
    const bare = { ...tiny(), text_config: { ...tiny().text_config, dtype: undefined } };
    expect(parseModelConfig(bare, 'f').dtype).toBe('bfloat16');
    expect(parseModelConfig({ ...bare, torch_dtype: 'float32' }, 'f').dtype).toBe('float32');
    expect(thrownBy(() => parseModelConfig({ ...bare, dtype: 'int8' }, 'f')).message).toMatch(/dtype must be .*"int8"/);
  });
});

describe('refusals', () => {
  const refusal = (json: unknown) => thrownBy(() => parseModelConfig(json, 'model/config.json'));

  it.each([
    [{ model_type: 'llama', architectures: ['LlamaForCausalLM'] }, /got llama, LlamaForCausalLM/],
    [{}, /model_type must be "qwen3_vl" or "qwen3_vl_moe"; got undefined/],
    [{ model_type: 'qwen3_vl', architectures: ['Qwen3VLMoeForConditionalGeneration'] }, /got qwen3_vl, Qwen3VLMoe/],
    [null, /model_type/],
    ['text', /model_type/],
    [[1], /model_type/],
  ])('names another architecture: %j', (json, message) => {
    expect(refusal(json).message).toMatch(message);
  });

  it('reports all problems at once', () => {
    const text = { ...tiny().text_config, hidden_size: undefined };
    const json = { ...tiny(), text_config: { ...text, head_dim: 'wide', rms_norm_eps: 0 }, image_token_id: -1 };
    const { message, details } = refusal(json);
    expect(details['problems']).toHaveLength(4);
    for (const key of ['hidden_size is missing', 'head_dim must', 'rms_norm_eps must', 'image_token_id must'])
      expect(message).toContain(key);
  });

  const inText = (change: object) => ({ ...tiny(), text_config: { ...tiny().text_config, ...change } });
  const inVision = (change: object) => ({ ...tiny(), vision_config: { ...tiny().vision_config, ...change } });
  const section = (mrope_section: unknown, more = {}) => inText({ rope_scaling: { mrope_section, ...more } });
  it.each<[string, object, RegExp]>([
    ['sections that do not sum', section([6, 5, 4]), /sum to head_dim \/ 2 = 16; got \[6, 5, 4\]/],
    ['sections that do not interleave', section([4, 6, 6]), /does not fit interleaved/],
    ['contiguous sections', section([6, 5, 5], { mrope_interleaved: false }), /mrope_interleaved must be true/],
    ['another rope', section([6, 5, 5], { rope_type: 'yarn' }), /rope_type must be "default"; got "yarn"/],
    ['no rope at all', inText({ rope_scaling: null }), /rope_scaling or rope_parameters is missing/],
    ['odd head_dim', inText({ head_dim: 31 }), /head_dim must be even/],
    ['heads that do not group', inText({ num_key_value_heads: 3 }), /multiple of num_key_value_heads 3/],
    ['attention bias', inText({ attention_bias: true }), /attention_bias must be false/],
    ['another activation', inText({ hidden_act: 'gelu' }), /hidden_act must be "silu"/],
    ['vision heads', inVision({ num_heads: 5 }), /multiple of 4; got 96 \/ 5/],
    ['vision head width', inVision({ num_heads: 16 }), /multiple of 4; got 96 \/ 16/],
    ['a table that is no square', inVision({ num_position_embeddings: 250 }), /must be a square; got 250/],
    ['a tap beyond the tower', inVision({ deepstack_visual_indexes: [1, 2, 6] }), /stay below depth 6/],
    ['falling taps', inVision({ deepstack_visual_indexes: [2, 1] }), /must rise/],
    ['more taps than layers', inVision({ deepstack_visual_indexes: [0, 1, 2, 3, 4] }), /5 taps for 4 text layers/],
    ['merge 3', inVision({ spatial_merge_size: 3 }), /spatial_merge_size must be 2/],
    ['temporal patch 1', inVision({ temporal_patch_size: 1 }), /temporal_patch_size must be 2/],
    ['another width for the text', inVision({ out_hidden_size: 64 }), /out_hidden_size must be .* 128; got 64/],
    ['no experts', nanoMoe({ num_experts: undefined }), /text_config.num_experts is missing/],
    ['more active experts than there are', nanoMoe({ num_experts_per_tok: 7 }), /must be at most num_experts 6; got 7/],
    ['dense layers among them', nanoMoe({ mlp_only_layers: [0] }), /mlp_only_layers must be \[\]; got \[0\]/],
    ['experts in every other layer', nanoMoe({ decoder_sparse_step: 2 }), /decoder_sparse_step must be 1; got 2/],
    ['an id outside the vocabulary', { ...tiny(), image_token_id: 1024 }, /below text_config.vocab_size 1024/],
    ['one id twice', { ...tiny(), image_token_id: 1011 }, /must differ/],
  ])('%s', (_, json, message) => {
    const error = refusal(json);
    expect(error.code).toBe('INVALID_CHECKPOINT');
    expect(error.message).toMatch(message);
  });
});
