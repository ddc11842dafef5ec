import { attention, attentionBackward, decodeAttention } from '../../lib/kernels/attention.ts';
import { Scope, tensor } from '../../lib/runtime/tensor.ts';
import { randoms } from '../../tests/support/testKernel.ts';
import { benchKernel, type Peer } from '../support/benchKernel.ts';

const f32 = (seed: number, ...shape: number[]) => Float32Array.from(randoms(seed, ...shape));

interface Layout {
  lengths: number[];
  prefix: number[];
  causal: boolean;
  heads: [H: number, G: number, D: number];
}
const alone = (lengths: number[], causal: boolean, heads: Layout['heads']): Layout => ({
  lengths,
  prefix: lengths.map(() => -1),
  causal,
  heads,
});
const prompts = Array.from({ length: 25 }, (_, p) => p * 9);
const layouts: Layout[] = [
  alone([1024], true, [16, 16, 128]),
  alone([2048], true, [8, 8, 64]),
  // what a small policy is trained on: 25 prompts of 50 tokens with 8 responses of 30 each, and 200 pictures of 64 patches
  {
    lengths: prompts.flatMap(() => [50, ...Array<number>(8).fill(30)]),
    prefix: prompts.flatMap((p) => [-1, ...Array<number>(8).fill(p)]),
    causal: true,
    heads: [8, 2, 32],
  },
  alone(Array<number>(200).fill(64), false, [4, 4, 24]),
];

const sum = (x: number[]) => x.reduce((a, b) => a + b, 0);
function dimsOf({ lengths, prefix, causal, heads: [H, G, D] }: Layout) {
  const S = sum(lengths);
  const seen = lengths.map((n, z) => n * ((lengths[prefix[z]!] ?? 0) + (causal ? (n + 1) / 2 : n)));
  return { Z: lengths.length, S, H, G, D, keys: Math.round((sum(seen) / S) * 10) / 10 };
}
function inputsOf({ lengths, prefix, causal, heads: [H, G, D] }: Layout) {
  const segmentStarts = Int32Array.from([0, ...lengths.map((_, z) => sum(lengths.slice(0, z + 1)))]);
  const S = segmentStarts.at(-1)!;
  const tensors = { query: f32(1, S, H, D), key: f32(2, S, G, D), value: f32(3, S, G, D) };
  return { ...tensors, segmentStarts, segmentPrefix: Int32Array.from(prefix), causal, scale: 1 / Math.sqrt(D) };
}

/** What the forward pass leaves for the backward pass, and a gradient. */
async function returned(inputs: ReturnType<typeof inputsOf>, { S, H, G, D }: ReturnType<typeof dimsOf>) {
  using scope = new Scope();
  const { output, logSumExp } = attention({
    ...inputs,
    query: tensor(inputs.query, [S, H, D], scope),
    key: tensor(inputs.key, [S, G, D], scope),
    value: tensor(inputs.value, [S, G, D], scope),
  });
  return { dOutput: f32(4, S, H, D), output: await output.read(), logSumExp: await logSumExp.read() };
}

/** Row by row over typed arrays, with the same shared prefixes. */
const typescript: Peer = {
  name: 'TypeScript',
  prepare(args, { Z, H, G, D }) {
    const [query, key, value] = [args['query'], args['key'], args['value']] as Float32Array[];
    const [starts, prefix] = [args['segmentStarts'], args['segmentPrefix']] as unknown as Int32Array[];
    const causal = Boolean(args['causal']);
    const scale = args['scale'] as number;
    const [heads, groups, width] = [H!, G!, D!];
    const output = new Float32Array(query!.length);
    const scores = new Float64Array(starts!.at(-1)!);
    const rows = new Int32Array(scores.length);
    const row = (i: number, h: number, seen: number) => {
      const q = (i * heads + h) * width;
      const g = Math.floor((h * groups) / heads) * width;
      let largest = -Infinity;
      for (let n = 0; n < seen; n++) {
        const k = rows[n]! * groups * width + g;
        let s = 0;
        for (let d = 0; d < width; d++) s += query![q + d]! * key![k + d]!;
        largest = Math.max(largest, (scores[n] = s * scale));
      }
      let total = 0;
      for (let n = 0; n < seen; n++) total += scores[n] = Math.exp(scores[n]! - largest);
      output.fill(0, q, q + width);
      for (let n = 0; n < seen; n++) {
        const v = rows[n]! * groups * width + g;
        const weight = scores[n]! / total;
        for (let d = 0; d < width; d++) output[q + d]! += weight * value![v + d]!;
      }
    };
    return () => {
      for (let z = 0; z < Z!; z++) {
        let shared = 0;
        const p = prefix![z]!;
        if (p >= 0) for (let j = starts![p]!; j < starts![p + 1]!; j++) rows[shared++] = j;
        const [begin, end] = [starts![z]!, starts![z + 1]!];
        for (let j = begin; j < end; j++) rows[shared + j - begin] = j;
        for (let i = begin; i < end; i++)
          for (let h = 0; h < heads; h++) row(i, h, shared + (causal ? i + 1 : end) - begin);
      }
    };
  },
};

export default async () => {
  for (const layout of layouts) {
    const inputs = inputsOf(layout);
    const dims = dimsOf(layout);
    await benchKernel(attention, {
      sizes: [dims],
      generate: () => inputs,
      peers: dims.Z > 1 ? [typescript] : [], // the long ones take it seconds
    });
    const backward = { ...inputs, ...(await returned(inputs, dims)) };
    await benchKernel(attentionBackward, { sizes: [dims], generate: () => backward });
  }
  // 16 prompts with 8 responses each, halfway through 32 tokens
  await benchKernel(decodeAttention, {
    sizes: [{ B: 128, P: 192, C: 16, H: 8, G: 2, D: 32, N: 16, E: 4, F: 1, keys: 66 }],
    generate: ({ B, P, C, H, G, D, N, E }) => ({
      query: f32(1, B!, H!, D!),
      key: f32(2, P!, C!, G!, D!),
      value: f32(3, P!, C!, G!, D!),
      prefix: Int32Array.from({ length: B! }, (_, b) => b >> 3),
      prefixPages: Int32Array.from({ length: N! * E! }, (_, i) => i),
      prefixLength: new Int32Array(N!).fill(50),
      ownPages: Int32Array.from({ length: B! }, (_, b) => N! * E! + b),
      ownLength: new Int32Array(B!).fill(C!),
      scale: 1 / Math.sqrt(D!),
    }),
  });
};
