import { fileURLToPath } from 'node:url';
import type { Dims } from '../../lib/kernels/defineKernel.ts';
import { environment } from '../../lib/runtime/env.ts';
import { startLinePeer, type LinePeer } from './linePeer.ts';

interface Ready {
  versions: Record<string, string>;
}

let started: Promise<LinePeer<Ready>> | undefined;

/** One process for all kernels of a run, if `G2RPO_PEER_PYTHON` names a Python with torch. */
function process(): Promise<LinePeer<Ready>> | undefined {
  const { peerPython } = environment();
  if (peerPython === undefined) return undefined;
  return (started ??= startLinePeer<Ready>(peerPython, [
    fileURLToPath(new URL('../peers/torch_kernels.py', import.meta.url)),
  ]));
}

/** The ways in which PyTorch does a kernel's work (peers/torch_kernels.py), all of it in bf16 if weights are: CPU seconds of one call, mean of `count`. None where it is not measured. */
export async function torchPeers(kernel: string, dims: Dims, bf16 = false) {
  const peer = await process();
  if (!peer) return [];
  const { ways } = await peer.ask<{ ways: string[] }>({ kernel, dims, dtype: bf16 ? 'bfloat16' : 'float32' });
  return ways.map((way) => ({
    name: way === 'torch' ? `torch ${peer.ready.versions['torch']}` : way,
    seconds: async (count: number) => (await peer.ask<{ seconds: number }>({ way, count })).seconds,
  }));
}

export async function closeTorch(): Promise<void> {
  (await started)?.close();
}
