import type { ModelConfig } from './config.ts';

export interface TensorShape {
  name: string;
  shape: number[];
}

/**
 * Names and shapes of all weights, in file order: head (if untied), embedding, text layers, final norm, vision tower.
 *
 * Linear weights are [out, in], those of experts [expert, in, out] with the gate's columns before up's, as the releases store them.
 * A tied model has no `lm_head.weight`.
 */
export function tensorNames({ text, vision, tied }: ModelConfig): TensorShape[] {
  const list: TensorShape[] = [];
  const put = (name: string, ...shape: number[]) => list.push({ name, shape });
  const affine = (name: string, ...shape: number[]) => {
    put(`${name}.weight`, ...shape);
    put(`${name}.bias`, shape[0]!);
  };
  const { hidden, headDim, mlp, moe, vocab } = text;
  const [query, key] = [text.heads * headDim, text.kvHeads * headDim];

  if (!tied) put('lm_head.weight', vocab, hidden);
  put('model.language_model.embed_tokens.weight', vocab, hidden);
  for (let l = 0; l < text.layers; l++) {
    const at = `model.language_model.layers.${l}`;
    put(`${at}.input_layernorm.weight`, hidden);
    put(`${at}.self_attn.q_proj.weight`, query, hidden);
    put(`${at}.self_attn.k_proj.weight`, key, hidden);
    put(`${at}.self_attn.v_proj.weight`, key, hidden);
    put(`${at}.self_attn.o_proj.weight`, hidden, query);
    put(`${at}.self_attn.q_norm.weight`, headDim);
    put(`${at}.self_attn.k_norm.weight`, headDim);
    put(`${at}.post_attention_layernorm.weight`, hidden);
    if (moe) {
      put(`${at}.mlp.gate.weight`, moe.experts, hidden);
      put(`${at}.mlp.experts.gate_up_proj`, moe.experts, hidden, 2 * moe.mlp);
      put(`${at}.mlp.experts.down_proj`, moe.experts, moe.mlp, hidden);
      continue;
    }
    put(`${at}.mlp.gate_proj.weight`, mlp, hidden);
    put(`${at}.mlp.up_proj.weight`, mlp, hidden);
    put(`${at}.mlp.down_proj.weight`, hidden, mlp);
  }
  put('model.language_model.norm.weight', hidden);

  const merged = vision.hidden * vision.merge ** 2;
  affine('model.visual.patch_embed.proj', vision.hidden, 3, vision.temporalPatch, vision.patch, vision.patch);
  put('model.visual.pos_embed.weight', vision.positions, vision.hidden);
  for (let b = 0; b < vision.depth; b++) {
    const at = `model.visual.blocks.${b}`;
    affine(`${at}.norm1`, vision.hidden);
    affine(`${at}.norm2`, vision.hidden);
    affine(`${at}.attn.qkv`, 3 * vision.hidden, vision.hidden);
    affine(`${at}.attn.proj`, vision.hidden, vision.hidden);
    affine(`${at}.mlp.linear_fc1`, vision.mlp, vision.hidden);
    affine(`${at}.mlp.linear_fc2`, vision.hidden, vision.mlp);
  }
  const merger = (at: string, norm: number) => {
    affine(`${at}.norm`, norm);
    affine(`${at}.linear_fc1`, merged, merged);
    affine(`${at}.linear_fc2`, vision.outHidden, merged);
  };
  merger('model.visual.merger', vision.hidden); // normalises patches, then groups them
  vision.taps.forEach((_, k) => merger(`model.visual.deepstack_merger_list.${k}`, merged)); // groups, then normalises
  return list;
}

/** Number of weights, a tied head counted once. */
export function parameterCount(config: ModelConfig): number {
  return tensorNames(config).reduce((sum, { shape }) => sum + elementCount(shape), 0);
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
