import { defineKernel, flag, i32, number, real, type Dims } from './defineKernel.ts';

const starts = i32('Z+1');
const prefix = i32('Z');

/**
 * Every query's mean of the values it may see, weighted by the softmax of its scores; and the logarithm of their sum.
 *
 *   oᵢₕ = Σⱼ exp(scale · qᵢₕ·kⱼ − logSumExpᵢₕ) · vⱼ      over the keys j that row i sees, of key head ⌊h · G / H⌋
 *
 * A row of segment z sees its own segment, if causal only up to itself, and before that all of segment segmentPrefix[z]:
 * a prompt is computed once, however many responses follow it. −1 is no prefix; a prefix has none itself.
 *
 * @throws SHAPE_MISMATCH    H is no multiple of G
 * @throws INVALID_ARGUMENT  segmentStarts does not rise from 0 to S, or segmentPrefix names a segment that is not there, itself
 *                           or one that has a prefix; D is above 256 on a GPU
 * @source arXiv:2205.14135, the forward pass; Qwen3-VL, segments of the vision tower and of packed text
 */
export const attention = defineKernel({
  name: 'attention',
  inputs: {
    query: real('S,H,D'),
    key: real('S,G,D'),
    value: real('S,G,D'),
    /** offsets from 0 to S, never falling; segment z is rows [starts[z], starts[z+1]) */
    segmentStarts: starts,
    /** the segment whose keys segment z sees before its own, or −1 */
    segmentPrefix: prefix,
  },
  scalars: {
    /** a row sees its own segment up to itself only */
    causal: flag(),
    /** multiplies the scores; 1/√D in every model here */
    scale: number(),
  },
  outputs: { output: real('S,H,D'), logSumExp: real('S,H') },
  reference({ query, key, value, segmentStarts, segmentPrefix, causal, scale, dims }, { output, logSumExp }) {
    forEachHead(dims, segmentStarts, segmentPrefix, causal, ({ seen, i, h, q, kv }) => {
      const scores = seen.map((j) => scale * dot(query, q(i), key, kv(j), dims['D']!));
      const largest = Math.max(...scores);
      const sum = scores.reduce((s, x) => s + Math.exp(x - largest), 0);
      const total = largest + Math.log(sum);
      logSumExp[i * dims['H']! + h] = total;
      seen.forEach((j, n) => add(output, q(i), Math.exp(scores[n]! - total), value, kv(j), dims['D']!));
    });
  },
  work: (dims) => ({ bytes: 8 * dims['S']! * dims['D']! * (dims['H']! + dims['G']!), flops: 4 * products(dims) }),
});

/**
 * The gradients of attention. The scores are computed again and turned into weights by logSumExp, so that nothing of the
 * size S × S is kept; keys and values of a prefix collect from all segments that see it, in the order of the segments.
 *
 *   pᵢⱼ = exp(scale · qᵢ·kⱼ − logSumExpᵢ)     dsᵢⱼ = pᵢⱼ (doᵢ·vⱼ − doᵢ·oᵢ)
 *   dqᵢ = scale Σⱼ dsᵢⱼ kⱼ     dkⱼ = scale Σᵢ dsᵢⱼ qᵢ     dvⱼ = Σᵢ pᵢⱼ doᵢ        also over the H/G query heads of a key head
 *
 * @throws SHAPE_MISMATCH    as attention
 * @throws INVALID_ARGUMENT  as attention
 * @source arXiv:2205.14135, the backward pass
 */
export const attentionBackward = defineKernel({
  name: 'attention_backward',
  inputs: {
    dOutput: real('S,H,D'),
    query: real('S,H,D'),
    key: real('S,G,D'),
    value: real('S,G,D'),
    /** as attention returned them */
    output: real('S,H,D'),
    logSumExp: real('S,H'),
    segmentStarts: starts,
    segmentPrefix: prefix,
  },
  scalars: { causal: flag(), scale: number() },
  outputs: { dQuery: real('S,H,D'), dKey: real('S,G,D'), dValue: real('S,G,D') },
  reference({ dOutput, query, key, value, output, logSumExp, segmentStarts, segmentPrefix, causal, scale, dims }, out) {
    const D = dims['D']!;
    forEachHead(dims, segmentStarts, segmentPrefix, causal, ({ seen, i, h, q, kv }) => {
      const mean = dot(dOutput, q(i), output, q(i), D);
      for (const j of seen) {
        const weight = Math.exp(scale * dot(query, q(i), key, kv(j), D) - logSumExp[i * dims['H']! + h]!);
        const dScore = weight * (dot(dOutput, q(i), value, kv(j), D) - mean);
        add(out.dQuery, q(i), scale * dScore, key, kv(j), D);
        add(out.dKey, kv(j), scale * dScore, query, q(i), D);
        add(out.dValue, kv(j), weight, dOutput, q(i), D);
      }
    });
  },
  work: (dims) => ({ bytes: 16 * dims['S']! * dims['D']! * (dims['H']! + dims['G']!), flops: 10 * products(dims) }),
});

/**
 * Attention of one new token per row over a cache whose pages hold C tokens each: it sees the first prefixLength[n] tokens of the pages
 * that line n = prefix[b] of prefixPages names, which rows of one prompt share, and then the first ownLength of its own pages, where
 * its own key already is. A prefix of −1 is none; a row that sees nothing gets 0. What lies behind the last token of a table is not
 * looked at. The bits do not depend on C, nor on where pages lie.
 *
 * @throws SHAPE_MISMATCH    H is no multiple of G
 * @throws INVALID_ARGUMENT  prefix names no line; a length is more than its table holds; a page that is needed is not in [0, P);
 *                           D is above 256 on a GPU
 * @source arXiv:2309.06180, block tables
 */
export const decodeAttention = defineKernel({
  name: 'decode_attention',
  inputs: {
    query: real('B,H,D'),
    key: real('P,C,G,D'),
    value: real('P,C,G,D'),
    prefix: i32('B'),
    prefixPages: i32('N,E'),
    prefixLength: i32('N'),
    ownPages: i32('B,F'),
    ownLength: i32('B'),
  },
  scalars: { scale: number() },
  outputs: { output: real('B,H,D') },
  reference({ query, key, value, prefix, prefixPages, prefixLength, ownPages, ownLength, scale, dims }, { output }) {
    const [B, H, G, D, C, E, F] = [dims['B']!, dims['H']!, dims['G']!, dims['D']!, dims['C']!, dims['E']!, dims['F']!];
    const tokens = (pages: Int32Array, line: number, width: number, length: number) =>
      Array.from({ length }, (_, j) => pages[line * width + Math.floor(j / C)]! * C + (j % C));
    for (let b = 0; b < B; b++) {
      const shared = prefix[b]! < 0 ? [] : tokens(prefixPages, prefix[b]!, E, prefixLength[prefix[b]!]!);
      const seen = [...shared, ...tokens(ownPages, b, F, ownLength[b]!)];
      for (let h = 0; h < H; h++) {
        const at = (token: number) => (token * G + Math.floor(h / (H / G))) * D;
        const scores = seen.map((token) => scale * dot(query, (b * H + h) * D, key, at(token), D));
        const largest = Math.max(...scores);
        const weights = scores.map((s) => Math.exp(s - largest));
        const sum = weights.reduce((s, w) => s + w, 0);
        seen.forEach((token, n) => add(output, (b * H + h) * D, weights[n]! / sum, value, at(token), D));
      }
    }
  },
  work: ({ B, H, G, D, C, P, keys = 0 }) => ({
    bytes: 8 * D! * (B! * H! + G! * P! * C!),
    flops: 4 * B! * H! * D! * keys,
  }),
});

/** Multiply-adds of the scores; benches say how many `keys` a row sees on average, else it is that of equal causal segments. */
const products = ({ S, H, D, Z, keys = (S! / Z! + 1) / 2 }: Dims) => S! * H! * D! * keys;

interface Head {
  /** rows whose keys row i sees */
  seen: number[];
  i: number;
  h: number;
  /** offsets of a row's vector of this query head, and of the key head it uses */
  q: (row: number) => number;
  kv: (row: number) => number;
}

/** Every row and query head, with what it sees. */
function forEachHead(
  dims: Dims,
  segmentStarts: Int32Array,
  segmentPrefix: Int32Array,
  causal: boolean,
  visit: (head: Head) => void,
): void {
  const [H, G, D] = [dims['H']!, dims['G']!, dims['D']!];
  const rows = (z: number) => {
    const first = segmentStarts[z]!;
    return Array.from({ length: segmentStarts[z + 1]! - first }, (_, n) => first + n);
  };
  segmentPrefix.forEach((p, z) => {
    for (const i of rows(z)) {
      const seen = [...(p < 0 ? [] : rows(p)), ...rows(z).filter((j) => !causal || j <= i)];
      for (let h = 0; h < H; h++) {
        const g = Math.floor(h / (H / G));
        visit({ seen, i, h, q: (row) => (row * H + h) * D, kv: (row) => (row * G + g) * D });
      }
    }
  });
}

/** a[i…]·b[j…] over n elements. */
function dot(a: Float64Array, i: number, b: Float64Array, j: number, n: number): number {
  let sum = 0;
  for (let d = 0; d < n; d++) sum += a[i + d]! * b[j + d]!;
  return sum;
}

/** to[i…] += factor · from[j…] over n elements. */
function add(to: Float64Array, i: number, factor: number, from: Float64Array, j: number, n: number): void {
  for (let d = 0; d < n; d++) to[i + d] = to[i + d]! + factor * from[j + d]!;
}
