import { cpuUsage } from 'node:process';
import benny from 'benny';
import type { Dims, Kernel, TensorSpec } from '../../lib/kernels/defineKernel.ts';
import { shapeOf } from '../../lib/kernels/signature.ts';
import { native } from '../../lib/runtime/native.ts';
import { Scope, tensor, Tensor, type DType, type TypedArray } from '../../lib/runtime/tensor.ts';
import { measurePeaks } from './peaks.ts';

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- any kernel, whatever its arguments
type AnyKernel = Kernel<any, any, any, any>;

/** Something else that does the same work, for a ratio measured in the same run. */
export interface Peer {
  name: string;
  /** prepares once; the returned function does the work once */
  prepare(args: Record<string, TypedArray | number>, dims: Dims): () => void;
}

export interface KernelBench {
  /** sizes of the dimensions, one entry per row of the table */
  sizes: Dims[];
  /** arguments for a size: typed arrays and scalars */
  generate(dims: Dims): Record<string, TypedArray | number | boolean>;
  peers?: Peer[];
  /** f32 unless said; what a `real` argument is given as */
  variant?: 'f32' | 'f64';
}

/** CPU seconds of this process, all threads. */
const cpuSeconds = () => {
  const { user, system } = cpuUsage();
  return (user + system) / 1e6;
};
export const median = (x: number[]) => x.toSorted((a, b) => a - b)[Math.floor(x.length / 2)]!;

/**
 * One thread, CPU time, medians, peers interleaved in one run. Prints the time, elements or FLOP per second, the share of the
 * measured peak that `work` implies, and the ratio to each peer; benny keeps the suite and writes its JSON.
 */
export async function benchKernel(kernel: AnyKernel, bench: KernelBench): Promise<void> {
  native().setThreads(1);
  const peaks = measurePeaks();
  const d = kernel.declaration;
  for (const dims of bench.sizes) {
    using scope = new Scope();
    const plain = bench.generate(dims);
    const args: Record<string, unknown> = {};
    const specs = { ...d.inputs, ...d.updates } as Record<string, TensorSpec>;
    for (const [name, value] of Object.entries(plain)) {
      const spec = specs[name];
      args[name] = spec && ArrayBuffer.isView(value) ? tensor(value as TypedArray, shapeOf(d.name, name, spec, dims), scope) : value;
    }
    const launches = async (count: number) => {
      let last: Tensor<DType> | undefined;
      for (let i = 0; i < count; i++) {
        const out = Object.values(kernel(args as never)) as Tensor[];
        last?.dispose();
        for (const t of out.slice(1)) t.dispose();
        last = out[0];
      }
      // waiting for a one-element tensor costs the same for every kernel; the loop around amortises it
      await tensor(new Float32Array(1), [1], scope).read();
      last?.dispose();
    };
    await launches(3);
    const begin = performance.now();
    await launches(5);
    const count = Math.max(5, Math.min(2000, Math.ceil((40 * 5) / Math.max(performance.now() - begin, 0.05))));
    const own: number[] = [];
    const peers = (bench.peers ?? []).map((p) => ({ ...p, run: p.prepare(plain as never, dims), times: [] as number[], count: 0 }));
    for (const p of peers) {
      const start = performance.now();
      p.run();
      p.count = Math.max(3, Math.min(count, Math.ceil(40 / Math.max(performance.now() - start, 0.01))));
      for (let i = 0; i < p.count; i++) p.run();
    }
    const label = Object.entries(dims).map(([k, v]) => `${k} ${v}`).join(', ');
    const round = async () => {
      let start = cpuSeconds();
      await launches(count);
      own.push((cpuSeconds() - start) / count);
      for (const p of peers) {
        start = cpuSeconds();
        for (let i = 0; i < p.count; i++) p.run();
        p.times.push((cpuSeconds() - start) / p.count);
      }
    };
    // benny drives the rounds and keeps the record; the figures are ours, because it knows wall time only
    await benny.suite(
      `${d.name} ${label}`,
      benny.add('interleaved rounds', round, { minSamples: 7, maxTime: 0.3 }),
      ...(process.env['G2RPO_BENCH_SAVE'] ? [benny.save({ file: `${d.name}-${label.replaceAll(/\W+/g, '-')}`, folder: process.env['G2RPO_BENCH_SAVE'], details: true })] : []),
    );
    const time = median(own);
    const { bytes, flops } = d.work(dims);
    const peakFlops = bench.variant === 'f64' ? peaks.flops / 2 : peaks.flops;
    const floor = Math.max(bytes / peaks.bytes, flops / peakFlops);
    const columns = [
      `${d.name} ${label}`.padEnd(52),
      `${(time * 1e6).toFixed(1)} µs`.padStart(12),
      `${(flops / time / 1e9).toFixed(1)} GFLOP/s`.padStart(15),
      `${(bytes / time / 1e9).toFixed(1)} GB/s`.padStart(12),
      `${((100 * floor) / time).toFixed(0)} % of peak`.padStart(14),
      ...peers.map((p) => `${(median(p.times) / time).toFixed(1)}× ${p.name}`),
    ];
    console.log(columns.join('  '));
  }
}
