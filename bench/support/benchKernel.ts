import { cpuUsage } from 'node:process';
import benny from 'benny';
import type { Dims, Kernel, TensorSpec } from '../../lib/kernels/defineKernel.ts';
import { shapeOf } from '../../lib/kernels/signature.ts';
import { environment } from '../../lib/runtime/env.ts';
import { native } from '../../lib/runtime/native.ts';
import { Scope, tensor, type Tensor, type TypedArray } from '../../lib/runtime/tensor.ts';
import { measurePeaks, type Peaks } from './peaks.ts';
import { kernelPeers } from './kernelPeers.ts';

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- any kernel, whatever its arguments
type AnyKernel = Kernel<any, any, any, any>;

/** Something else that does the same work, for a ratio measured in the same run. */
export interface Peer {
  name: string;
  /** prepares once, tensors of its own in the scope; the returned function does the work once, or tells the seconds of one of `count` times */
  prepare(
    args: Record<string, TypedArray | readonly TypedArray[] | number>,
    dims: Dims,
    scope: Scope,
  ): (() => void) | { seconds(count: number): Promise<number> };
}

export interface KernelBench {
  /** sizes of the dimensions, one entry per row of the table */
  sizes: Dims[];
  /** arguments for a size: typed arrays, lists of them, scalars, and tensors that a kernel has made */
  generate(dims: Dims): Record<string, TypedArray | readonly TypedArray[] | Tensor | number | boolean>;
  /** what is said behind the sizes */
  note?: string;
  peers?: Peer[];
}

/** Seconds that one sample of the kernel or of a peer takes, roughly. */
const SAMPLE = 0.02;
const ROUNDS = 7;

/** CPU seconds of this process, all threads. */
const cpuSeconds = () => {
  const { user, system } = cpuUsage();
  return (user + system) / 1e6;
};
export const median = (x: number[]) => x.toSorted((a, b) => a - b)[Math.floor(x.length / 2)]!;

/**
 * One thread, CPU time, medians, peers interleaved in one run. Prints the time, what moves and happens per second, the share
 * of the peak that `work` implies, and the ratio to each peer. The peak is the median of those measured in the same rounds, so
 * that a clock which drifts, or neighbours, move both alike. The time is that of the kernel on its stream, without
 * the way there and back. A peak of bytes is that of memory: what stays in a cache may exceed it.
 */
export async function benchKernel(kernel: AnyKernel, bench: KernelBench): Promise<void> {
  native().setThreads(1);
  const { name } = kernel.declaration;
  for (const dims of bench.sizes) {
    using scope = new Scope();
    const plain = bench.generate(dims);
    const args = tensorsOf(kernel, plain, dims, scope);
    const own: number[] = [];
    const peaks: Peaks[] = [];
    const first = await kernel.time(args as never, 3);
    const count = countFor(first);
    const peers = await peersOf(kernel, bench, plain, dims, scope);
    const label = Object.entries(dims).map(([k, v]) => `${k} ${v}`);
    await inRounds(`${name} ${label.join(', ')}`, async () => {
      own.push(await kernel.time(args as never, count));
      for (const p of peers) p.times.push(await p.seconds(p.count));
      peaks.push(measurePeaks());
    });
    const ratios = peers.map((p) => ({ name: p.name, ratio: median(p.times) / median(own) }));
    const of = (key: keyof Peaks) => median(peaks.map((p) => p[key]));
    const peak = { flops: of('flops'), bf16Flops: of('bf16Flops'), bytes: of('bytes') };
    console.log(row(kernel, dims, bench.note, variantOf(kernel, plain), savedBytes(plain), median(own), peak, ratios));
  }
}

/** Those of the bench, and of bench/peers what is there and knows the kernel. */
async function peersOf(
  kernel: AnyKernel,
  bench: KernelBench,
  plain: Record<string, unknown>,
  dims: Dims,
  scope: Scope,
) {
  const own = (bench.peers ?? []).map((peer) => {
    const run = peer.prepare(plain as never, dims, scope);
    if (typeof run !== 'function') return { name: peer.name, seconds: run.seconds };
    return { name: peer.name, seconds: (count: number) => Promise.resolve(secondsOf(run, count)) };
  });
  const peers = [];
  for (const peer of [
    ...(await kernelPeers(kernel.declaration.name, dims, variantOf(kernel, plain) === 'bf16')),
    ...own,
  ])
    peers.push({ ...peer, times: [] as number[], count: countFor(await peer.seconds(3)) });
  return peers;
}

const countFor = (seconds: number) => Math.max(1, Math.min(100_000, Math.ceil(SAMPLE / Math.max(seconds, 1e-9))));

function secondsOf(run: () => void, count: number): number {
  const start = cpuSeconds();
  for (let i = 0; i < count; i++) run();
  return (cpuSeconds() - start) / count;
}

function tensorsOf(
  kernel: AnyKernel,
  plain: Record<string, unknown>,
  dims: Dims,
  scope: Scope,
): Record<string, unknown> {
  const d = kernel.declaration;
  const specs = { ...d.inputs, ...d.updates } as Record<string, TensorSpec>;
  return Object.fromEntries(
    Object.entries(plain).map(([name, value]) => {
      const spec = specs[name];
      if (Array.isArray(value)) return [name, value.map((each) => tensor(each as TypedArray, undefined, scope))];
      const isTensor = spec && ArrayBuffer.isView(value);
      return [name, isTensor ? tensor(value as TypedArray, shapeOf(d.name, name, spec, dims), scope) : value];
    }),
  );
}

/** f64 if what `real` arguments were given as, or all that the kernel takes, is f64; bf16 if weights are, or factors may be rounded to it. */
function variantOf(kernel: AnyKernel, plain: Record<string, unknown>): 'f32' | 'f64' | 'bf16' {
  const specs = { ...kernel.declaration.inputs, ...kernel.declaration.updates } as Record<string, TensorSpec>;
  const wide = (name: string) => specs[name]?.dtypes.includes('f64') && [plain[name]].flat()[0] instanceof Float64Array;
  return Object.keys(plain).some(wide) ? 'f64' : savedBytes(plain) > 0 || plain['inBf16'] ? 'bf16' : 'f32';
}

/** What weights in bf16 are smaller by than those of f32, which `work` counts. */
const savedBytes = (plain: Record<string, unknown>): number =>
  Object.values(plain)
    .flat()
    .reduce((sum: number, each) => sum + (each instanceof Uint16Array ? 2 * each.length : 0), 0);

/** benny drives the rounds and keeps the record; the figures are ours, because it knows wall time only. */
async function inRounds(title: string, round: () => Promise<void>): Promise<void> {
  let probes = 2; // benny calls a case twice to see what it returns, and does not wait for the first
  const { benchSave: folder } = environment();
  const { log } = console;
  console.log = () => undefined; // it announces every suite
  try {
    await benny.suite(
      title,
      benny.add('interleaved rounds', async () => (probes-- > 0 ? undefined : await round()), {
        minSamples: ROUNDS,
        maxTime: 0.01,
      }),
      ...(folder ? [benny.save({ file: title.replaceAll(/\W+/g, '-'), folder, details: true })] : []),
    );
  } finally {
    console.log = log;
  }
}

function row(
  kernel: AnyKernel,
  dims: Dims,
  note: string | undefined,
  variant: 'f32' | 'f64' | 'bf16',
  saved: number,
  time: number,
  peak: Peaks,
  ratios: { name: string; ratio: number }[],
): string {
  const d = kernel.declaration;
  const work = d.work(dims);
  const [bytes, flops] = [work.bytes - saved, work.flops];
  // of the first thing that the kernel writes
  const [written, spec] = Object.entries({ ...d.outputs, ...d.updates } as Record<string, TensorSpec>)[0]!;
  const elements = shapeOf(d.name, written, spec, dims).reduce((n, x) => n * x, 1); // of a list: N is that of all its tensors
  const peakFlops = { f32: peak.flops, f64: peak.flops / 2, bf16: peak.bf16Flops }[variant];
  const floor = Math.max(bytes / peak.bytes, flops / peakFlops);
  const label = [...Object.entries(dims).map(([k, v]) => `${k} ${v}`), ...(note ? [note] : [])];
  return [
    `${d.name} ${variant} ${label.join(', ')}`.padEnd(52),
    `${(time * 1e6).toFixed(1)} µs`.padStart(12),
    `${(flops / time / 1e9).toFixed(1)} GFLOP/s`.padStart(15),
    `${(bytes / time / 1e9).toFixed(1)} GB/s`.padStart(12),
    `${(elements / time / 1e9).toFixed(2)} Gelem/s`.padStart(14),
    `${((100 * floor) / time).toFixed(0)} % of peak`.padStart(14),
    ...ratios.map(({ name, ratio }) => `${ratio.toFixed(1)}× ${name}`),
  ].join('  ');
}
