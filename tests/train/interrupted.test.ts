import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeGallery, writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { g2rpo } from '../support/g2rpo.ts';
import { mainArguments } from '../support/mainArguments.ts';

let dir: string;
const at = (...path: string[]) => join(dir, ...path);
const runs = {
  train: `
rollout: { prompts: 2, n: 2, maxTokens: 5, filter: { low: -1, high: 2 } }
data: { train: gallery/train.jsonl, validation: gallery/validation.jsonl, template: plain }
train: { steps: 8, updatePrompts: 1, learningRate: 1e-3, saveEverySteps: 2, keepLast: 1 }
`,
  sft: `
rollout: { maxTokens: 5 }
data: { validation: gallery/validation.jsonl, template: plain }
phases:
  - { name: one, demonstrations: [{ files: gallery/demonstrations.jsonl }], steps: 3, batchRows: 4 }
  - { name: two, demonstrations: [{ files: gallery/demonstrations.jsonl }], steps: 5, batchRows: 6 }
train: { saveEverySteps: 2, keepLast: 1 }
`,
};
const common = `
policy: { path: policy }
rewards: { concurrency: 1 }
eval: { samples: 0, everySteps: 4 }
output: none
`;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'g2rpo-interrupted-'));
  await writeGallery({
    out: at('gallery'),
    train: 24,
    validation: 6,
    demonstrations: { demonstrations: { scenes: 12 } },
    seed: 1,
  });
  await writeSmallPolicy(at('policy'), { seed: 3, hidden: 32, visionHidden: 32 });
  for (const [kind, text] of Object.entries(runs)) writeFileSync(at(`${kind}.yaml`), common + text);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const command = (kind: string, output: string) => [kind, at(`${kind}.yaml`), `output=${at(output)}`];
const saved = (output: string) =>
  existsSync(at(output, 'checkpoints'))
    ? readdirSync(at(output, 'checkpoints')).filter((f) => /^step-\d+$/.test(f))
    : [];
const logged = (output: string, name: string) =>
  existsSync(at(output, name)) ? readFileSync(at(output, name), 'utf8').trimEnd().split('\n') : [];
const weights = (output: string) => readFileSync(at(output, 'policy', 'model.safetensors'));
/** All that must be the same: times and memory are not. */
const numbers = (output: string) =>
  logged(output, 'metrics.jsonl').map((line) =>
    Object.fromEntries(
      Object.entries(JSON.parse(line) as Record<string, unknown>).filter(([name]) => !/^(timing_s|perf)\//.test(name)),
    ),
  );

/** A process of its own, killed as soon as `when` is true. */
async function killed(args: string[], when: () => boolean): Promise<void> {
  const child = spawn(process.execPath, [...mainArguments, ...args], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  while (child.exitCode === null && !when()) await sleep(2);
  child.kill('SIGKILL');
  expect(await ended).toEqual([null, 'SIGKILL']); // it had not come to its end
}

describe.each(['train', 'sft'])('%s', (kind) => {
  const [whole, torn] = [`${kind}-whole`, `${kind}-torn`];

  it('killed twice and resumed ends as if nothing had happened', { timeout: 120_000 }, async () => {
    const reference = await g2rpo(command(kind, whole));
    expect(reference.code, reference.stderr).toBe(0);
    const args = command(kind, torn);
    await killed(args, () => saved(torn).includes('step-000002') && logged(torn, 'metrics.jsonl').length > 3);
    await killed(
      args,
      () => existsSync(at(torn, 'checkpoints', 'step-000006.writing')) || saved(torn).includes('step-000006'),
    );
    const resumed = await g2rpo(args);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(resumed.stdout).toMatch(/resuming at step [46] /);
    expect(weights(torn).equals(weights(whole))).toBe(true);
    expect(numbers(torn)).toEqual(numbers(whole));
    expect(saved(torn)).toEqual(['step-000008']); // the folder it went on from is gone, and was not needed
  });

  it('goes on in a folder that was moved', async () => {
    renameSync(at(whole), at(`${whole}-moved`));
    const again = await g2rpo(command(kind, `${whole}-moved`));
    expect(again.code, again.stderr).toBe(0);
  });
});

it('stopped before its first update, it still validates before it when it goes on', async () => {
  const args = command('train', 'stopped');
  expect((await g2rpo(args, { signal: AbortSignal.abort() })).code).toBe(130);
  expect((await g2rpo([...args, 'train.steps=1'])).code).toBe(0);
  expect(numbers('stopped')[0]).toMatchObject({ step: 0, 'val/accuracy_macro': expect.any(Number) });
});

it('stopped before its first update, and killed behind the validation that it went on with, it tells that once', async () => {
  const args = command('train', 'stoppedAndKilled');
  expect((await g2rpo(args, { signal: AbortSignal.abort() })).code).toBe(130);
  // what a killed process had written
  appendFileSync(at('stoppedAndKilled', 'metrics.jsonl'), '{"step":0,"val/accuracy_macro":0.5}\n');
  const { code, stderr } = await g2rpo([...args, 'train.steps=1']);
  expect(code, stderr).toBe(0);
  expect(numbers('stoppedAndKilled').filter(({ step }) => step === 0)).toEqual([
    expect.not.objectContaining({ 'val/accuracy_macro': 0.5 }),
  ]);
});
