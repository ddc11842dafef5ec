// Policies in the shapes of the released models, random weights in bf16: an update of 8,192 tokens by phase, with what its kernels take, and
// decoding beside what reading the weights takes; then the update by transformers. For a GPU: `G2RPO_DEVICE=cuda npm run bench -- trueSize:2B`.
import { fileURLToPath } from 'node:url';
import { Policy, type Recompute } from '../lib/model/qwen3vl/policy.ts';
import { forwardFlops } from '../lib/model/qwen3vl/workload.ts';
import { environment } from '../lib/runtime/env.ts';
import { limitMemory, memoryUse } from '../lib/runtime/memory.ts';
import { native } from '../lib/runtime/native.ts';
import { median } from './support/benchKernel.ts';
import { startLinePeer } from './support/linePeer.ts';
import { peerName, type Ready } from './support/policyPeer.ts';
import { packSequences, promptOf, responseOf, writeSequences, type Sequence } from './support/sequences.ts';
import { forTrueSizes, TRUE_SIZE_NAMES, writeTrueSize, type TrueSize } from './support/trueSizes.ts';
import { updateOf } from './support/updateOf.ts';

const PEAK = 989e12; // bf16 operations per second of an H100 or H200, by their data sheet
const BANDWIDTH = 4.3e12; // bytes per second that a copy on an H200 reads and writes
/** Of an update: sequences of a picture, a question and a response. */
const SHAPES = {
  large: { count: 8, visual: 256, text: 256, response: 512 },
  toy: { count: 2, visual: 4, text: 12, response: 16 },
};
/** How a policy is trained so that it fits 141 GB. */
const TRAINING: Record<TrueSize, { optimizer: 'adamw' | 'adamw8bit'; recompute: Recompute }> = {
  '2B': { optimizer: 'adamw', recompute: 'none' },
  '4B': { optimizer: 'adamw8bit', recompute: 'selective' },
  '8B': { optimizer: 'adamw8bit', recompute: 'selective' },
  toy: { optimizer: 'adamw8bit', recompute: 'full' },
};

export const variants = TRUE_SIZE_NAMES;

export default (sizes: TrueSize[]): Promise<void> => forTrueSizes(sizes, measure);

async function measure(size: TrueSize, dir: string): Promise<void> {
  const wrote = performance.now();
  const folder = await writeTrueSize(dir, size);
  const loaded = performance.now();
  limitMemory(Infinity);
  const policy = await Policy.load(folder, { dtype: 'bf16' });
  await policy.parameters.at(-1)!.weight.read();
  const seconds = (from: number, to: number) => `${((to - from) / 1000).toFixed(1)} s`;
  const count = policy.parameters.reduce((sum, { weight }) => sum + weight.size, 0);
  console.log(
    `${size}: ${(count / 1e9).toFixed(3)} billion parameters, written in ${seconds(wrote, loaded)}, loaded in ${seconds(loaded, performance.now())}, ${gigabytes(memoryUse().bytes)} with gradients`,
  );
  await update(policy, size);
  await decoding(policy, size);
  await update(policy, size, { offload: true });
  policy.dispose();
  const lent = await Policy.load(folder, { dtype: 'bf16', keepGradients: false });
  await update(lent, size, { inBackward: true });
  const sequences = sequencesOf(lent, size);
  lent.dispose();
  await besidePeer(lent, dir, folder, size, sequences);
}

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
const ms = (milliseconds: number) => `${milliseconds.toFixed(milliseconds < 10 ? 2 : 0)} ms`;

async function timed(work: () => Promise<unknown>, rounds = 3): Promise<number> {
  const times = [];
  for (let round = 0; round <= rounds; round++) {
    const begin = performance.now();
    await work();
    if (round > 0) times.push(performance.now() - begin); // the first one warms up
  }
  return median(times);
}

/** What kernels take, each waited for, so that the sum is a little more than the whole took. */
async function byKernel(work: () => Promise<unknown>): Promise<string> {
  native().profile(true);
  await work();
  const times = native()
    .kernelTimes()
    .sort((a, b) => b.milliseconds - a.milliseconds);
  native().profile(false);
  const all = times.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const lines = times
    .slice(0, 14)
    .map(
      ({ name, variant, launches, milliseconds }) =>
        `    ${name} (${variant}) × ${launches}`.padEnd(52) +
        `${ms(milliseconds).padStart(9)}  ${((100 * milliseconds) / all).toFixed(1)} %`,
    );
  return [`  by kernel, ${ms(all)} in all`, ...lines].join('\n');
}

const shapeOf = (size: TrueSize) => SHAPES[size === 'toy' ? 'toy' : 'large'];

function sequencesOf(policy: Policy, size: TrueSize): Sequence[] {
  const { count, visual, text, response } = shapeOf(size);
  return Array.from({ length: count }, () => ({
    prompt: promptOf(policy, { visual, text }),
    response: responseOf(policy, response),
  }));
}

/** The same update by transformers, where `G2RPO_PEER_PYTHON` names a Python that has it: in bf16, AdamW fused, moments as narrow as its weights. */
async function besidePeer(
  processors: Pick<Policy, 'imageProcessor'>,
  dir: string,
  folder: string,
  size: TrueSize,
  sequences: Sequence[],
): Promise<void> {
  const { peerPython, device = 'cpu' } = environment();
  if (peerPython === undefined) return;
  const { count, visual, text, response } = shapeOf(size);
  const recompute = TRAINING[size].recompute === 'none' ? [] : ['--recompute'];
  const script = fileURLToPath(new URL('./peers/policy.py', import.meta.url));
  const peer = await startLinePeer<Ready>(peerPython, [script, folder, '--device', device, '--dtype', 'bfloat16', ...recompute]); // prettier-ignore
  await peer.ask({ load: await writeSequences(processors, dir, 'sequences', sequences), responses: response });
  let peakBytes = 0;
  const time = await timed(async () => ({ peakBytes } = await peer.ask<{ peakBytes: number }>({ work: 'update' })));
  peer.close();
  console.log(
    `  the same update by ${peerName(peer.ready)}, AdamW${recompute.length ? ', layers computed again' : ''}: ${ms(time)}, ${count * (visual + text + response)} tokens, peak ${gigabytes(peakBytes)}`,
  );
}

async function update(policy: Policy, size: TrueSize, { inBackward = false, offload = false } = {}): Promise<void> {
  const { count, visual, text, response } = shapeOf(size);
  const batch = packSequences(policy, sequencesOf(policy, size));
  const rows = batch.inputIds.length;
  const { merge } = policy.config.vision;
  const length = rows / count;
  const flops =
    3 *
    forwardFlops(policy.config, {
      rows,
      patches: count * visual * merge ** 2,
      targets: count * response,
      keys: (length + 1) / 2,
      patchKeys: visual * merge ** 2,
    });
  const step = updateOf(policy, batch, response, { ...TRAINING[size], inBackward, offload });
  limitMemory(Infinity); // the peak begins anew
  const time = await timed(step);
  const { optimizer, recompute } = TRAINING[size];
  console.log(
    `  update of ${rows} tokens, ${count} × (${visual} visual + ${text} + ${response}), ${optimizer}${inBackward ? ' in the backward pass' : ''}${offload ? " in the host's memory" : ''}, recompute ${recompute}: ${ms(time)}, ${((100 * flops) / (time / 1000) / PEAK).toFixed(1)} % of 989 TFLOP/s, peak ${gigabytes(memoryUse().peak)}`,
  );
  if (inBackward || offload) return step.dispose();
  const forward = await timed(() => policy.forward(batch));
  console.log(`  forward alone: ${ms(forward)}, ${((100 * flops) / 3 / (forward / 1000) / PEAK).toFixed(1)} %`);
  console.log(await byKernel(step));
  step.dispose();
}

async function decoding(policy: Policy, size: TrueSize): Promise<void> {
  const toy = size === 'toy';
  const [prompt, tokens] = [promptOf(policy, { visual: 0, text: toy ? 16 : 512 }), toy ? 8 : 64];
  const { text } = policy.config;
  const weights =
    2 *
    (policy.parameters
      .filter(({ name }) => name.includes('language_model.layers'))
      .reduce((sum, { weight }) => sum + weight.size, 0) +
      text.hidden * text.vocab);
  for (const n of toy ? [1, 4] : [1, 16, 64]) {
    const of = (maxTokens: number) => timed(() => policy.generate([prompt], { n, maxTokens, seed: 1 }), 2);
    const step = ((await of(tokens)) - (await of(1))) / (tokens - 1);
    const kept = 8 * text.layers * text.kvHeads * text.headDim * (prompt.inputIds.length + (n * tokens) / 2); // keys and values in f32; the prompt's are shared
    const floor = (1000 * (weights + kept)) / BANDWIDTH;
    console.log(
      `  decoding, ${n} rollouts of a prompt of ${prompt.inputIds.length}: ${ms(step)} a token each, ${Math.round((1000 * n) / step)} tokens/s, ${((100 * floor) / step).toFixed(1)} % of what reading weights and keys at 4.3 TB/s allows`,
    );
  }
  console.log(await byKernel(() => policy.generate([prompt], { n: toy ? 4 : 64, maxTokens: tokens, seed: 1 })));
}
