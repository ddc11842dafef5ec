import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSmallPolicy } from '../lib/data/gallery/index.ts';
import { Policy } from '../lib/model/qwen3vl/policy.ts';
import { packBatch } from '../lib/rollout/packBatch.ts';
import { environment } from '../lib/runtime/env.ts';
import { native } from '../lib/runtime/native.ts';
import { trainStep } from '../lib/train/trainStep.ts';
import { median } from './support/benchKernel.ts';
import { startLinePeer } from './support/linePeer.ts';
import { peakMemoryMb, resetPeakMemory, now } from './support/turns.ts';
import { groupOf, neverStop, picture, updateRunOf } from './support/wholeStep.ts';

const [PROMPTS, ROLLOUTS, TOKENS] = [16, 8, 32];
const VISUAL_TOKENS = [16, 64];
/** rows of a micro-batch: on a CPU as fast as all of them at once, in less than half the memory */
const MICRO_BATCH = 1024;
const ROUNDS = 5;

/** How our weights are kept; those of the peer are f32. */
type Weights = 'f32' | 'bf16';
export const variants: Weights[] = ['f32', 'bf16'];

/** Seconds of a step by phase: [CPU of all threads, wall]. */
type Phases = Record<string, [cpu: number, wall: number]>;
interface Answer {
  phases: Phases;
  tokens: number;
  memoryMb: number;
}
interface Ready {
  versions: Record<string, string>;
  memoryMb: number;
}

/**
 * One whole step by phases, beside TRL on the same checkpoint, prompts and pictures where `G2RPO_PEER_PYTHON` names a Python
 * that has it. CPU time of one thread and medians, or with more threads (`G2RPO_THREADS`) wall time and the best of the rounds.
 */
export default async function stepBench(weights: Weights[]): Promise<void> {
  const { threads = 1, peerPython } = environment();
  native().setThreads(threads);
  for (const dtype of weights)
    for (const visual of VISUAL_TOKENS) {
      const folder = mkdtempSync(join(tmpdir(), 'g2rpo-step-'));
      try {
        await measure(folder, { dtype, visual, threads, peerPython });
      } finally {
        rmSync(folder, { recursive: true });
      }
    }
  if (peerPython === undefined)
    console.log(
      'for the ratio to TRL: pip install torch transformers trl datasets accelerate peft safetensors pillow, and name that python in G2RPO_PEER_PYTHON',
    );
}

async function measure(
  folder: string,
  {
    dtype,
    visual,
    threads,
    peerPython,
  }: { dtype: Weights; visual: number; threads: number; peerPython: string | undefined },
): Promise<void> {
  const own = await ownStep(folder, dtype, visual);
  const script = fileURLToPath(new URL('./peers/step.py', import.meta.url));
  const sizes = ['--rollouts', `${ROLLOUTS}`, '--tokens', `${TOKENS}`, '--threads', `${threads}`];
  const peer =
    peerPython === undefined
      ? undefined
      : await startLinePeer<Ready>(peerPython, [script, own.policyDir, own.promptsFile, ...sizes]);
  const [ours, theirs]: [Answer[], Answer[]] = [[], []];
  for (let round = 0; round <= ROUNDS; round++) {
    ours.push(await own.step(round));
    if (peer) theirs.push(await peer.ask<Answer>());
  }
  peer?.close();
  own.dispose();
  const how = threads === 1 ? 'one thread, CPU time, medians' : `${threads} threads, wall time, best of ${ROUNDS}`;
  console.log(
    `a step of ${PROMPTS} × ${ROLLOUTS} rollouts of ${TOKENS} tokens, ${visual} visual tokens a picture, our weights in ${dtype}; ${how}`,
  );
  // the first round warms up
  console.log(table(ours.slice(1), theirs.slice(1), threads, peer?.ready));
}

/** Rows: what they are called, our phases, theirs. */
const ROWS: [string, string[], string[]][] = [
  ['prompts', ['prompts'], ['prompts']],
  ['rollout', ['rollout'], ['rollout']],
  ['forward, backward', ['update'], ['forward', 'backward']],
  // ours are one pass: the gradient of a token's logits is made where they are
  ['  of it forward', [], ['forward']],
  ['  of it backward', [], ['backward']],
  ['optimizer', ['optimizer'], ['optimizer']],
  ['whole step', ['step'], ['step']],
];

function table(ours: Answer[], theirs: Answer[], threads: number, ready: Ready | undefined): string {
  const timeOf = (answers: Answer[], names: string[]) => {
    const sums = answers.map(({ phases }) =>
      names.reduce((sum, name) => sum + (phases[name]?.[threads === 1 ? 0 : 1] ?? 0), 0),
    );
    return threads === 1 ? median(sums) : Math.min(...sums);
  };
  const line = (name: string, ...cells: string[]) => name.padEnd(20) + cells.map((cell) => cell.padStart(11)).join('');
  const ms = (seconds: number) => `${(1000 * seconds).toFixed(0)} ms`;
  const peak = (answers: Answer[]) => Math.max(...answers.map(({ memoryMb }) => memoryMb));
  const rate = (seconds: number) => `${(ours[0]!.tokens / seconds).toFixed(0)} response tokens/s`;
  if (!ready)
    return [
      ...ROWS.filter(([, phases]) => phases.length > 0).map(([name, phases]) => {
        const time = timeOf(ours, phases);
        return `${line(name, ms(time))}  ${rate(time)}`;
      }),
      line('peak memory', `${peak(ours).toFixed(0)} MB`),
    ].join('\n');

  const cells = (own: number, peer: number, text: (value: number) => string) => [
    own > 0 ? text(own) : '',
    peer > 0 ? text(peer) : '',
    ...(own > 0 && peer > 0 ? [`${(peer / own).toFixed(1)}×`] : []),
  ];
  const versions = Object.entries(ready.versions).map(([name, version]) => `${name} ${version}`);
  return [
    `beside ${versions.join(', ')}; response tokens ${ours[0]!.tokens} and ${theirs[0]!.tokens}`,
    line('', 'ours', 'TRL', 'ratio'),
    ...ROWS.map(([name, phases, peerPhases]) =>
      line(name, ...cells(timeOf(ours, phases), timeOf(theirs, peerPhases), ms)).trimEnd(),
    ),
    line('peak memory', ...cells(peak(ours), peak(theirs), (mb) => `${mb.toFixed(0)} MB`)),
  ].join('\n');
}

/** The step, on a new policy in the folder, with prompts and pictures that a peer can read. */
async function ownStep(folder: string, dtype: Weights, visual: number) {
  const policyDir = join(folder, 'policy');
  const side = 16 * Math.sqrt(visual);
  await writeSmallPolicy(policyDir, { imageSize: side, visionDepth: 6 });
  neverStop(policyDir);
  const prompts = Array.from({ length: PROMPTS }, (_, i) => ({
    text: `Colour of the shape number ${i}?`,
    image: join(folder, `${i}.png`),
  }));
  for (const [i, { image }] of prompts.entries()) writeFileSync(image, picture(side, i));
  const promptsFile = join(folder, 'prompts.json');
  writeFileSync(promptsFile, JSON.stringify(prompts));
  const policy = await Policy.load(policyDir, { dtype });
  const run = updateRunOf(policy, policyDir, {
    rollout: { prompts: PROMPTS, n: ROLLOUTS, maxTokens: TOKENS },
    train: { updatePrompts: PROMPTS, microBatchTokens: MICRO_BATCH },
  });
  const { optimizer } = run;

  async function step(round: number): Promise<Answer> {
    const phases: Phases = {};
    const timed = async <T>(phase: string, work: () => Promise<T>): Promise<T> => {
      const begin = now();
      const result = await work();
      phases[phase] = now().map((t, i) => t - begin[i]!) as [number, number];
      return result;
    };
    const update = async (learningRate: number) => {
      const report = await optimizer.step(learningRate);
      await policy.parameters.at(-1)!.weight.read(); // kernels are enqueued: waits for the last of them
      return report;
    };
    const timedOptimizer = { ...optimizer, step: (rate: number) => timed('optimizer', () => update(rate)) };
    const tokens = await timed('step', async () => {
      const encoded = await timed('prompts', () =>
        Promise.all(
          prompts.map(({ text, image }) =>
            policy.encode([
              { type: 'image', image },
              { type: 'text', text },
            ]),
          ),
        ),
      );
      const sampled = await timed('rollout', () =>
        policy.generate(encoded, { n: ROLLOUTS, maxTokens: TOKENS, seed: round }),
      );
      const batch = packBatch(encoded.map((prompt, g) => groupOf(prompt, g, sampled[g]!)));
      // one update of plain PPO: as in training, no pass for old log-probabilities
      const advantages = await run.algorithm.advantages(batch);
      await timed('update', () => trainStep({ ...run, optimizer: timedOptimizer }, { batch, advantages }, true));
      return batch.tokenStarts.at(-1)!;
    });
    phases['update'] = phases['update']!.map((t, i) => t - phases['optimizer']![i]!) as [number, number];
    return { phases, tokens, memoryMb: peakMemoryMb() };
  }
  resetPeakMemory();
  return { policyDir, promptsFile, step, dispose: () => policy.dispose() };
}
