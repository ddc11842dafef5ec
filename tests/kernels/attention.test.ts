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
    scale: 1 / Math.sqrt(D || 1),
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
  'heads of no width, two segments': { lengths: [3, 4], heads: [2, 2, 0] },
  'head width 1': { lengths: [9], heads: [2, 2, 1] },
  'vision: segments of 64, 4 heads of 24, full': { lengths: [64, 64, 16], heads: [4, 4, 24], causal: false },
  'text: 8 heads of 32 on 2, shared prompts': {
    lengths: [50, 31, 10, 17, 77, 60, 5],
    prefix: [-1, 0, 0, 0, -1, 4, 4],
    heads: [8, 2, 32],
  },
  'heads of 21, which end within half a vector, behind a prefix': {
    lengths: [37, 6, 9],
    prefix: [-1, 0, 0],
    heads: [2, 2, 21],
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
  /** lengths of the prefixes, and which of them each row sees */
  prefixes?: number[];
  prefix?: number[];
  own: number[];
  /** tokens of a page */
  C?: number;
  heads?: [H: number, G: number, D: number];
}
/** Keys by sequence and token, so that they are the same in pages of any size; pages lie about in no order. */
function decodeCase({
  own,
  prefixes = [],
  prefix = own.map(() => -1),
  C = 8,
  heads: [H, G, D] = [4, 2, 8],
}: DecodeSizes): Case {
  const B = own.length;
  const lengths = [...prefixes, ...own];
  const pagesOf = (length: number) => Math.ceil(length / C);
  const P = sum(lengths.map(pagesOf)) + 3;
  const free = Array.from({ length: P }, (_, p) => p).sort((a, b) => ((a * 7919) % P) - ((b * 7919) % P));
  const [key, value] = [
    new Float64Array(P * C * G * D).fill(Number.NaN),
    new Float64Array(P * C * G * D).fill(Number.NaN),
  ];
  const tables = lengths.map((length, sequence) => {
    const pages = free.splice(0, pagesOf(length));
    const [keys, values] = [randoms(2 * sequence + 2, length, G * D), randoms(2 * sequence + 3, length, G * D)];
    for (let t = 0; t < length; t++) {
      const at = (pages[Math.floor(t / C)]! * C + (t % C)) * G * D;
      key.set(keys.subarray(t * G * D, (t + 1) * G * D), at);
      value.set(values.subarray(t * G * D, (t + 1) * G * D), at);
    }
    return pages;
  });
  const matrix = (lines: number[][]) => {
    const width = Math.max(1, ...lines.map((line) => line.length));
    const all = lines.flatMap((line) => Array.from({ length: width }, (_, i) => line[i] ?? -1));
    return shaped(Int32Array.from(all), lines.length, width);
  };
  return {
    query: randoms(1, B, H, D),
    key: shaped(key, P, C, G, D),
    value: shaped(value, P, C, G, D),
    prefix: Int32Array.from(prefix),
    prefixPages: matrix(tables.slice(0, prefixes.length)),
    prefixLength: Int32Array.from(prefixes),
    ownPages: matrix(tables.slice(prefixes.length)),
    ownLength: Int32Array.from(own),
    scale: 1 / Math.sqrt(D),
  };
}
const sum = (x: number[]) => x.reduce((a, b) => a + b, 0);
const eight: DecodeSizes = {
  prefixes: [170, 33],
  prefix: [0, 0, 0, 0, 0, 0, 0, 0, 1],
  own: [1, 2, 3, 17, 16, 15, 40, 33, 8],
  heads: [8, 2, 32],
};
testKernel(decodeAttention, {
  cases: {
    'rows of two prompts': decodeCase({ prefixes: [20, 31], prefix: [0, 0, 1, 1], own: [1, 7, 40, 3] }),
    'no prefix, an empty one, nothing of its own, nothing at all': decodeCase({
      prefixes: [0, 9],
      prefix: [-1, 0, 1, -1],
      own: [5, 1, 0, 0],
    }),
    'no rows': decodeCase({ own: [] }),
    'one entry of its own': decodeCase({ own: [1], C: 1 }),
    'a prompt with eight responses, 8 heads of 32 on 2': decodeCase({ ...eight, C: 16 }),
    'odd everything: 3 heads of 5 in pages of 7': decodeCase({
      prefixes: [11, 60, 59],
      prefix: [0, 1, 2],
      own: [13, 21, 40],
      heads: [3, 1, 5],
      C: 7,
    }),
    'heads of 128 and 24': decodeCase({ prefixes: [50, 51], prefix: [0, 1], own: [9, 10], heads: [2, 2, 128] }),
    'heads of 24, pages longer than a tile': decodeCase({
      prefixes: [150, 51],
      prefix: [0, 1],
      own: [9, 110],
      heads: [4, 4, 24],
      C: 100,
    }),
  },
  tolerance: { f32: 1e-5, f64: 1e-12 }, // weights sum to 1, values are below 1
});

it('decode_attention gives the same bits whatever the size of a page, and to a row alone', async () => {
  const outputOf = async (sizes: DecodeSizes) =>
    (await runKernel(decodeAttention, decodeCase(sizes), 'f32'))['output']!;
  const whole = await outputOf({ ...eight, C: 1000 });
  for (const C of [1, 7, 16, 64]) expect(await outputOf({ ...eight, C }), `pages of ${C}`).toEqual(whole);
  const c = decodeCase(eight);
  const [H, D] = [8, 32];
  const width = (c['ownPages'] as unknown as { shape: number[] }).shape[1]!;
  const alone = await runKernel(
    decodeAttention,
    {
      ...c,
      query: shaped((c['query'] as Float64Array).slice(3 * H * D, 4 * H * D), 1, H, D),
      prefix: Int32Array.of(0),
      ownPages: shaped((c['ownPages'] as Int32Array).slice(3 * width, 4 * width), 1, width),
      ownLength: Int32Array.of(eight.own[3]!),
    },
    'f32',
  );
  expect(alone['output']).toEqual(whole.slice(3 * H * D, 4 * H * D));
});

describe('what decode_attention refuses', () => {
  const refuse = (change: (c: Case) => Case, message: RegExp) => async () => {
    const c = decodeCase({ prefixes: [20], prefix: [0, -1], own: [9, 3] });
    await expect(runKernel(decodeAttention, { ...c, ...change(c) }, 'f32')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(message) as string,
    });
  };
  const ints = (...x: number[]) => Int32Array.from(x);
  const pages = (name: string, entry: number, page: number) => (c: Case) => {
    const table = c[name] as Int32Array & { shape: [number, number] };
    const changed = Int32Array.from(table);
    changed[entry] = page;
    return { [name]: shaped(changed, ...table.shape) };
  };
  it(
    'a prefix that is not there',
    refuse(() => ({ prefix: ints(1, -1) }), /prefix must be -1 or one/),
  );
  it(
    'a prefix of −2',
    refuse(() => ({ prefix: ints(0, -2) }), /prefix must be -1 or one/),
  );
  it(
    'a prefix longer than its table',
    refuse(() => ({ prefixLength: ints(25) }), /prefixLength must be in/),
  );
  it(
    'a negative prefix length',
    refuse(() => ({ prefixLength: ints(-1) }), /prefixLength must be in/),
  );
  it(
    'more of its own than its table holds',
    refuse(() => ({ ownLength: ints(17, 3) }), /ownLength must be in/),
  );
  it(
    'a negative length of its own',
    refuse(() => ({ ownLength: ints(9, -1) }), /ownLength must be in/),
  );
  it('a page of the prefix behind the last', refuse(pages('prefixPages', 2, 99), /in pages of \[0, P\)/));
  it('a page of its own before the first', refuse(pages('ownPages', 1, -1), /in pages of \[0, P\)/));
  it('query heads that key heads do not divide', async () => {
    const run = runKernel(decodeAttention, decodeCase({ own: [1], heads: [3, 2, 8] }), 'f32');
    await expect(run).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' });
  });
});

it('gives the same bits on one thread and on three', async () => {
  const before = native().threads();
  const c = backwardCase(cases['text: 8 heads of 32 on 2, shared prompts']!);
  const long = backwardCase({ lengths: [400, 300, 300, 5], prefix: [-1, 0, 0, 0], heads: [4, 2, 16] });
  const decode = decodeCase({
    prefixes: [50, 50, 50],
    prefix: Array.from({ length: 12 }, (_, b) => b >> 2),
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
