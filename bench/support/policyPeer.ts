import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Policy } from '../../lib/model/qwen3vl/policy.ts';
import { environment } from '../../lib/runtime/env.ts';
import { native } from '../../lib/runtime/native.ts';
import { startLinePeer, type LinePeer } from './linePeer.ts';
import { writeModel, type ModelSize } from './modelSizes.ts';
import type { Seconds } from './turns.ts';

export interface Ready {
  versions: Record<string, string>;
}

/** A size of policy, with weights in f32 or, by the ending, in bf16. */
export type Variant = ModelSize | `${ModelSize}-bf16`;
export const sizeOf = (variant: Variant) => variant.replace(/-bf16$/, '') as ModelSize;
export const isBf16 = (variant: Variant) => variant.endsWith('-bf16');

/** A policy of some size, and transformers with the same checkpoint where `G2RPO_PEER_PYTHON` names a Python that has it. */
export interface PolicyBench {
  dir: string;
  policy: Policy;
  threads: number;
  peer: LinePeer<Ready> | undefined;
}

/** Calls `measure` with a new policy of each size in turn. */
export async function forSizes<V extends Variant>(
  variants: readonly V[],
  measure: (bench: PolicyBench, variant: V) => Promise<void>,
) {
  const { threads = 1, peerPython, device = 'cpu' } = environment();
  native().setThreads(threads);
  for (const variant of variants) {
    const dir = mkdtempSync(join(tmpdir(), 'g2rpo-bench-'));
    let peer: PolicyBench['peer'];
    try {
      const folder = await writeModel(dir, sizeOf(variant));
      const [dtype, peerDtype] = isBf16(variant) ? (['bf16', 'bfloat16'] as const) : (['f32', 'float32'] as const);
      const policy = await Policy.load(folder, { dtype });
      const script = fileURLToPath(new URL('../peers/policy.py', import.meta.url));
      if (peerPython !== undefined)
        peer = await startLinePeer<Ready>(peerPython, [
          ...[script, folder, '--threads', `${threads}`, '--device', device, '--dtype', peerDtype],
        ]);
      await measure({ dir, policy, threads, peer }, variant);
      policy.dispose();
    } finally {
      peer?.close();
      rmSync(dir, { recursive: true });
    }
  }
}

/** A way of `inTurns`: the peer does a piece of work with the sequences that it loaded. */
export const askPeer = (peer: LinePeer<Ready>, work: object) => async () =>
  (await peer.ask<{ seconds: Seconds }>(work)).seconds;

export const peerName = ({ versions }: Ready) =>
  Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ');
