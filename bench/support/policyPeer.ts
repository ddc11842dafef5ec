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

/** A policy of some size, and transformers with the same checkpoint where `G2RPO_PEER_PYTHON` names a Python that has it. */
export interface PolicyBench {
  dir: string;
  policy: Policy;
  threads: number;
  peer: LinePeer<Ready> | undefined;
}

/** Calls `measure` with a new policy of each size in turn. */
export async function forSizes(
  sizes: readonly ModelSize[],
  measure: (bench: PolicyBench, size: ModelSize) => Promise<void>,
) {
  const { threads = 1, peerPython, device = 'cpu' } = environment();
  native().setThreads(threads);
  for (const size of sizes) {
    const dir = mkdtempSync(join(tmpdir(), 'g2rpo-bench-'));
    let peer: PolicyBench['peer'];
    try {
      const folder = await writeModel(dir, size);
      const policy = await Policy.load(folder);
      const script = fileURLToPath(new URL('../peers/policy.py', import.meta.url));
      if (peerPython !== undefined)
        peer = await startLinePeer<Ready>(peerPython, [script, folder, '--threads', `${threads}`, '--device', device]);
      await measure({ dir, policy, threads, peer }, size);
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
