import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { Policy } from '../../lib/model/qwen3vl/policy.ts';
import { loadTrainConfig } from '../../lib/train/config.ts';
import { openTrainee, type Trainee } from '../../lib/train/trainee.ts';

let dir: string;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'g2rpo-trainee-'));
  await writeSmallPolicy(join(dir, 'policy'), { seed: 3, hidden: 32, layers: 2, visionHidden: 32, visionDepth: 2 });
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const open = (train: object): Promise<Trainee> =>
  openTrainee(
    loadTrainConfig({
      output: join(dir, 'run'),
      policy: { path: join(dir, 'policy') },
      data: { train: 'none' },
      train: { steps: 1, ...train },
    }),
    undefined,
  );
const Q = 'model.language_model.layers.0.self_attn.q_proj.weight';
const valuesOf = async (policy: Policy) => policy.parameters.find(({ name }) => name === Q)!.weight.read();

/** One update under gradients of 1. */
async function update({ policy, optimizer }: Trainee): Promise<void> {
  for (const { gradient } of policy.trained) gradient!.write(new Float32Array(gradient!.size).fill(1));
  await optimizer.step(0.1);
}

it.each([
  ['weights', {}],
  ['adapters', { lora: { rank: 2, targets: ['q_proj'] } }],
])('is judged and exported by the averages of its %s, and goes on with what it had', async (_, more) => {
  const trainee = await open({ ...more, ema: { decay: 0.75 } });
  const first = await valuesOf(trainee.policy);
  await update(trainee);
  const now = await valuesOf(trainee.policy);
  const averaged = await trainee.judged(() => valuesOf(trainee.policy));
  expect(averaged).not.toEqual(now);
  expect(averaged).not.toEqual(first);
  expect(await valuesOf(trainee.policy)).toEqual(now);
  await expect(trainee.judged(() => Promise.reject(new Error('stop')))).rejects.toThrow('stop');
  expect(await valuesOf(trainee.policy)).toEqual(now);
  if (!('lora' in more)) averaged.forEach((v, i) => expect(v).toBeCloseTo(0.75 * first[i]! + 0.25 * now[i]!, 6));
  const { policyDir, adapterDir } = await trainee.export(join(dir, 'out'));
  expect(adapterDir).toBe('lora' in more ? join(dir, 'out', 'adapter') : undefined);
  const exported = await Policy.load(policyDir!, { trained: false });
  const bound = Math.max(...averaged.map(Math.abs)) / 256; // of bfloat16
  (await valuesOf(exported)).forEach((v, i) => expect(Math.abs(v - averaged[i]!)).toBeLessThan(bound));
  expect(readdirSync(join(dir, 'out'))).toEqual('lora' in more ? ['adapter', 'policy'] : ['policy']);
  rmSync(join(dir, 'out'), { recursive: true });
  exported.dispose();
  trainee.dispose();
});

it('is judged as it is where averages are not asked for', async () => {
  const trainee = await open({ ema: { decay: 0.5, validate: false } });
  await update(trainee);
  const now = await valuesOf(trainee.policy);
  expect(await trainee.judged(() => valuesOf(trainee.policy))).toEqual(now);
  trainee.dispose();
});

it.each([
  ['weights', {}],
  ['adapters', { lora: { rank: 2, targets: ['q_proj'] } }],
])('does not save %s that are no longer finite', async (_, more) => {
  const trainee = await open(more);
  const { weight } = trainee.policy.trained[0]!;
  weight.write(new Float32Array(weight.size).fill(NaN));
  trainee.policy.refresh();
  const out = join(dir, 'diverged');
  for (const save of [() => trainee.export(out), () => trainee.kept.policy.save(out, { dtype: 'float32' })])
    await expect(save()).rejects.toMatchObject({
      code: 'NON_FINITE',
      message: expect.stringContaining('the training has diverged') as string,
    });
  expect(readdirSync(dir)).not.toContain('diverged');
  trainee.dispose();
});
