import { describe, expect, it } from 'vitest';
import { attention, attentionBackward, decodeAttention } from '../../lib/kernels/attention.ts';
import { native } from '../../lib/runtime/native.ts';
import {
  expectClose,
  randoms,
  runKernel,
  runReference,
  shaped,
  testGradient,
  testKernel,
  type Case,
} from '../support/testKernel.ts';

interface Sizes {
  lengths: number[];
  prefix?: number[];
  heads?: [H: number, G: number, D: number];
  causal?: boolean;
  seed?: number;
  /** how far scores spread */
  spread?: number;
}
const startsOf = (lengths: number[]) => lengths.reduce((starts, n) => [...starts, starts.at(-1)! + n], [0]);

function forwardCase({
  lengths,
  prefix = lengths.map(() => -1),
  heads: [H, G, D] = [4, 2, 8],
  causal = true,
  seed = 1,
  spread = 1,
}: Sizes): Case {
  const S = startsOf(lengths).at(-1)!;
  return {
    query: shaped(
      randoms(seed, S, H, D).map((x) => x * spread),
      S,
      H,
      D,
    ),
    key: randoms(seed + 1, S, G, D),
    value: randoms(seed + 2, S, G, D),
    segmentStarts: startsOf(lengths),
    segmentPrefix: Int32Array.from(prefix),
    causal,
    scale: 1 / Math.sqrt(D),
  };
}
function backwardCase(sizes: Sizes): Case {
  const forward = forwardCase(sizes);
  const { output, logSumExp } = runReference(attention, forward);
  const shape = (forward['query'] as unknown as { shape: [number, number, number] }).shape;
  return {
    ...forward,
    dOutput: randoms((sizes.seed ?? 1) + 3, ...shape),
    output: shaped(output as Float64Array<ArrayBuffer>, ...shape),
    logSumExp: shaped(logSumExp as Float64Array<ArrayBuffer>, shape[0], shape[1]),
  };
}

const cases: Record<string, Sizes> = {
  'one segment, causal': { lengths: [5] },
  'one segment, full': { lengths: [5], causal: false },
  'one row alone, an empty segment, three rows': { lengths: [1, 0, 3] },
  'no rows': { lengths: [0, 0], prefix: [-1, 0] },
  'no segments': { lengths: [] },
  'a prompt with three responses, one of them empty': { lengths: [6, 3, 0, 9], prefix: [-1, 0, 0, 0] },
  'a prefix that comes later, an empty prefix, full': { lengths: [3, 4, 0, 5], prefix: [1, -1, -1, 2], causal: false },
  'odd everything: 3 heads of 5': { lengths: [7, 19, 33], prefix: [-1, 0, -1], heads: [3, 1, 5] },
  'head width 1': { lengths: [9], heads: [2, 2, 1] },
  'vision: segments of 64, 4 heads of 24, full': { lengths: [64, 64, 16], heads: [4, 4, 24], causal: false },
  'text: 8 heads of 32 on 2, shared prompts': {
    lengths: [50, 31, 10, 17, 77, 60, 5],
    prefix: [-1, 0, 0, 0, -1, 4, 4],
    heads: [8, 2, 32],
  },
  'heads of 72, more than a tile': { lengths: [150, 40], heads: [2, 2, 72], causal: false },
  'heads of 128, more than a tile, causal': { lengths: [140, 200], prefix: [-1, 0], heads: [2, 1, 128] },
  'a prefix longer than two tiles, many query heads': { lengths: [300, 3, 70], prefix: [-1, 0, 0], heads: [8, 1, 16] },
  'many rows of one head': { lengths: [700], heads: [1, 1, 8] },
  'scores far apart': { lengths: [90, 20], prefix: [-1, 0], heads: [2, 1, 32], spread: 60 },
};
const small = [
  'one segment, causal',
  'one row alone, an empty segment, three rows',
  'a prompt with three responses, one of them empty',
  'a prefix that comes later, an empty prefix, full',
];
const mapped = <V>(make: (s: Sizes) => V, names = Object.keys(cases)) =>
  Object.fromEntries(names.map((name) => [name, make(cases[name]!)]));

testKernel(attention, {
  cases: mapped(forwardCase),
  tolerance: { f32: 1e-5, f64: 1e-12 }, // scores up to 60 carry 60 · 2⁻²⁴ into the exponent
});
testKernel(attentionBackward, {
  cases: mapped(backwardCase),
  tolerance: { f32: 1e-4, f64: 1e-12 }, // a key collects up to 1000 products with queries up to 60, whose scores err as above
});
testGradient(attention, attentionBackward, {
  cases: mapped(forwardCase, small),
  upstream: { output: 'dOutput' },
  gradients: { query: 'dQuery', key: 'dKey', value: 'dValue' },
});

describe('a shared prefix', () => {
  const [H, G, D] = [4, 2, 8];
  const shared: Sizes = { lengths: [6, 3, 9, 4], prefix: [-1, 0, 0, 0], heads: [H, G, D] };
  /** rows of the packed batch, for each response the prompt's and its own, in which every response repeats the prompt */
  const apart = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8],
    [0, 1, 2, 3, 4, 5, ...Array.from({ length: 9 }, (_, i) => 9 + i)],
    [0, 1, 2, 3, 4, 5, 18, 19, 20, 21],
  ];
  const rows = apart.flat();
  const spreadOut = (x: ArrayLike<number>, size: number) =>
    rows.flatMap((r) => Array.from({ length: size }, (_, d) => x[r * size + d]!));

  it('equals every response behind its own copy of the prompt, in values and gradients', async () => {
    const packed = backwardCase(shared);
    const lengths = apart.map((a) => a.length);
    const take = (name: string, size: number, ...shape: number[]) =>
      shaped(Float64Array.from(spreadOut(packed[name] as Float64Array, size)), rows.length, ...shape);
    const repeated: Case = {
      ...packed,
      query: take('query', H * D, H, D),
      key: take('key', G * D, G, D),
      value: take('value', G * D, G, D),
      segmentStarts: startsOf(lengths),
      segmentPrefix: Int32Array.from(lengths, () => -1),
    };
    const [one, many] = [await runKernel(attention, packed, 'f64'), await runKernel(attention, repeated, 'f64')];
    expectClose('output', spreadOut(one['output']!, H * D), many['output']!, 1e-13); // the order of sums
    expectClose('logSumExp', spreadOut(one['logSumExp']!, H), many['logSumExp']!, 1e-13); // the order of sums

    // the prompt's own gradient counts once: only the first copy of a prompt row passes one on
    const dOutput = take('dOutput', H * D, H, D);
    rows.forEach((r, i) => rows.indexOf(r) < i && dOutput.fill(0, i * H * D, (i + 1) * H * D));
    const [a, b] = [
      await runKernel(attentionBackward, packed, 'f64'),
      await runKernel(
        attentionBackward,
        {
          ...repeated,
          dOutput,
          output: shaped(Float64Array.from(many['output']!), rows.length, H, D),
          logSumExp: shaped(Float64Array.from(many['logSumExp']!), rows.length, H),
        },
        'f64',
      ),
    ];
    for (const [name, size] of [
      ['dQuery', H * D],
      ['dKey', G * D],
      ['dValue', G * D],
    ] as const) {
      const gathered = new Float64Array(a[name]!.length);
      rows.forEach((r, i) => {
        for (let d = 0; d < size; d++) gathered[r * size + d]! += b[name]![i * size + d]!;
      });
      expectClose(name, a[name]!, gathered, 1e-13); // the order of sums
    }
  });
});

describe('what attention refuses', () => {
  const refuse = (change: Case, code: string, message: RegExp) => async () => {
    const c = { ...backwardCase({ lengths: [3, 4, 5] }), ...change };
    for (const kernel of [attention, attentionBackward]) {
      const wanted = Object.keys({ ...kernel.declaration.inputs, ...kernel.declaration.scalars });
      const run = runKernel(kernel, Object.fromEntries(wanted.map((k) => [k, c[k]])), 'f32');
      await expect(run).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
    }
  };
  const prefix = (...p: number[]) => ({ segmentPrefix: Int32Array.from(p) });
  it(
    'segment starts that fall',
    refuse({ segmentStarts: [0, 8, 7, 12] }, 'INVALID_ARGUMENT', /segmentStarts must rise/),
  );
  it(
    'segment starts that do not cover the rows',
    refuse({ segmentStarts: [0, 3, 7, 13] }, 'INVALID_ARGUMENT', /segmentStarts must rise/),
  );
  it(
    'segment starts from −1',
    refuse({ segmentStarts: [-1, 3, 7, 12] }, 'INVALID_ARGUMENT', /segmentStarts must rise/),
  );
  it('a prefix that is not there', refuse(prefix(-1, 3, -1), 'INVALID_ARGUMENT', /segmentPrefix must be/));
  it('a prefix of −2', refuse(prefix(-1, -2, -1), 'INVALID_ARGUMENT', /segmentPrefix must be/));
  it('a segment that is its own prefix', refuse(prefix(-1, 1, -1), 'INVALID_ARGUMENT', /segmentPrefix must be/));
  it('a prefix that has a prefix', refuse(prefix(-1, 0, 1), 'INVALID_ARGUMENT', /segmentPrefix must be/));
  it(
    'query heads that key heads do not divide',
    refuse({ key: randoms(1, 12, 3, 8), value: randoms(2, 12, 3, 8) }, 'SHAPE_MISMATCH', /multiple of G/),
  );
});

it('carries NaN and lets it touch only what sees it', async () => {
  const c = forwardCase({ lengths: [4, 4], heads: [2, 1, 8] });
  (c['key'] as Float64Array)[1 * 8] = Number.NaN;
  const { output } = await runKernel(attention, c, 'f32');
  for (let i = 0; i < 8; i++) expect(Number.isNaN(output![i * 16]), `row ${i}`).toBe(i > 0 && i < 4);
});

interface DecodeSizes {
  prefixes: [start: number, length: number][];
  own: number[];
  P?: number;
  C?: number;
  heads?: [H: number, G: number, D: number];
}
function decodeCase({ prefixes, own, P = 60, C = 40, heads: [H, G, D] = [4, 2, 8] }: DecodeSizes): Case {
  const B = own.length;
  return {
    query: randoms(1, B, H, D),
    prefixKey: randoms(2, P, G, D),
    prefixValue: randoms(3, P, G, D),
    prefixStart: Int32Array.from(prefixes, ([start]) => start),
    prefixLength: Int32Array.from(prefixes, ([, length]) => length),
    ownKey: randoms(4, B, C, G, D),
    ownValue: randoms(5, B, C, G, D),
    ownLength: Int32Array.from(own),
    scale: 1 / Math.sqrt(D),
  };
}
testKernel(decodeAttention, {
  cases: {
    'rows of two prompts': decodeCase({
      prefixes: [
        [0, 20],
        [0, 20],
        [20, 31],
        [20, 31],
      ],
      own: [1, 7, 40, 3],
    }),
    'no prefix, nothing of its own, nothing at all': decodeCase({
      prefixes: [
        [0, 0],
        [60, 0],
        [3, 9],
      ],
      own: [5, 0, 0],
    }),
    'no rows': decodeCase({ prefixes: [], own: [] }),
    'no prefix cache, one entry of its own': decodeCase({ prefixes: [[0, 0]], own: [1], P: 0, C: 1 }),
    'a prompt with eight responses, 8 heads of 32 on 2': decodeCase({
      prefixes: Array.from({ length: 9 }, (_, b) => (b < 8 ? [5, 170] : [0, 33])),
      own: [1, 2, 3, 17, 16, 15, 40, 33, 8],
      P: 180,
      heads: [8, 2, 32],
    }),
    'odd everything: 3 heads of 5': decodeCase({
      prefixes: [
        [7, 11],
        [0, 60],
        [1, 59],
      ],
      own: [13, 21, 40],
      heads: [3, 1, 5],
    }),
    'heads of 128 and 24': decodeCase({
      prefixes: [
        [0, 50],
        [1, 51],
      ],
      own: [9, 10],
      heads: [2, 2, 128],
    }),
    'heads of 24': decodeCase({
      prefixes: [
        [0, 50],
        [1, 51],
      ],
      own: [9, 10],
      heads: [4, 4, 24],
    }),
  },
  tolerance: { f32: 1e-5, f64: 1e-12 }, // weights sum to 1, values are below 1
});

describe('what decode_attention refuses', () => {
  const refuse = (prefix: [number, number], own: number, message: RegExp) => () =>
    expect(
      runKernel(decodeAttention, decodeCase({ prefixes: [[0, 1], prefix], own: [1, own] }), 'f32'),
    ).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(message) as string,
    });
  it('a prefix beyond the cache', refuse([50, 11], 1, /inside the P rows/));
  it('a prefix before the cache', refuse([-1, 2], 1, /inside the P rows/));
  it('a negative prefix length', refuse([3, -1], 1, /inside the P rows/));
  it('a sum of the two that overflows', refuse([2 ** 31 - 1, 2 ** 31 - 1], 1, /inside the P rows/));
  it('more of its own than there is room for', refuse([0, 1], 41, /ownLength must be in/));
  it('a negative length of its own', refuse([0, 1], -1, /ownLength must be in/));
  it('query heads that key heads do not divide', async () => {
    const run = runKernel(decodeAttention, decodeCase({ prefixes: [[0, 1]], own: [1], heads: [3, 2, 8] }), 'f32');
    await expect(run).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' });
  });
});

it('gives the same bits on one thread and on three', async () => {
  const before = native().threads();
  const c = backwardCase(cases['text: 8 heads of 32 on 2, shared prompts']!);
  const long = backwardCase({ lengths: [400, 300, 300, 5], prefix: [-1, 0, 0, 0], heads: [4, 2, 16] });
  const decode = decodeCase({
    prefixes: Array.from({ length: 12 }, (_, b) => [b >> 2, 50]),
    own: Array.from({ length: 12 }, (_, b) => b),
  });
  const runs = [];
  for (const threads of [1, 3]) {
    native().setThreads(threads);
    runs.push([
      ...(await Promise.all(
        [c, long].flatMap((x) => [runKernel(attention, x, 'f32'), runKernel(attentionBackward, x, 'f32')]),
      )),
      await runKernel(decodeAttention, decode, 'f32'),
    ]);
  }
  native().setThreads(before);
  expect(runs[1]).toEqual(runs[0]);
});
