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

/** How PyTorch does a kernel's work (peers/torch_kernels.py): CPU seconds of one call, mean of `count`. Undefined where it is not measured. */
export async function torchPeer(kernel: string, dims: Dims) {
  const peer = await process();
  if (!peer) return undefined;
  const { known } = await peer.ask<{ known: boolean }>({ kernel, dims });
  if (!known) return undefined;
  return {
    name: `torch ${peer.ready.versions['torch']}`,
    seconds: async (count: number) => (await peer.ask<{ seconds: number }>({ count })).seconds,
  };
}

export async function closeTorch(): Promise<void> {
  (await started)?.close();
}
