import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import * as fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { tensor } from '../../lib/runtime/tensor.ts';
import { glanceAtLatest, latestCheckpoint, openCheckpointFolder, saveCheckpoint } from '../../lib/train/checkpoint.ts';
import { createOptimizer, type Optimizer } from '../../lib/train/optimizer.ts';
import { rejectionOf } from '../support/thrown.ts';

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof fs>();
  return { ...real, statfs: vi.fn(real.statfs) };
});

let dir: string;
beforeEach(() => (dir = join(mkdtempSync(join(tmpdir(), 'g2rpo-checkpoint-')), 'checkpoints')));
afterEach(() => rmSync(join(dir, '..'), { recursive: true, force: true }));

const policy = {
  async save(folder: string) {
    mkdirSync(folder);
    writeFileSync(join(folder, 'model.safetensors'), 'weights');
  },
};
const optimizerOf = (size: number) =>
  createOptimizer(
    ['a', 'b'].map((name) => ({
      name,
      weight: tensor(new Float32Array(size)),
      gradient: tensor(Float32Array.from({ length: size }, (_, i) => i - 1.5)),
    })),
    { betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0, maxGradNorm: 0 },
  );
const save = (step: number, { optimizer = optimizerOf(3), state = {} as unknown, keepLast = 3 } = {}) =>
  saveCheckpoint(dir, { step, policy, optimizer, state }, { keepLast });
const momentsOf = async ({ state }: Optimizer) => Promise.all(state.map(({ tensor }) => tensor.read()));

describe('a checkpoint', () => {
  it('gives back the state, the moments to the bit, and how many updates were made', async () => {
    const optimizer = optimizerOf(5);
    await optimizer.step(0.1);
    await optimizer.step(0.1);
    const state = { counters: { step: 7 }, list: [1, null, 'x'] };
    const path = await save(7, { optimizer, state });
    expect(path).toBe(join(dir, 'step-000007'));
    const found = await latestCheckpoint(dir);
    expect(found).toMatchObject({ step: 7, dir: path, state, policyDir: join(path, 'policy') });
    const other = optimizerOf(5);
    await found!.restoreOptimizer(other);
    expect(other.updates).toBe(2);
    expect(await momentsOf(other)).toEqual(await momentsOf(optimizer));
  });

  it('is of the parameters it was written with', async () => {
    await save(1);
    const found = await latestCheckpoint(dir);
    const error = await rejectionOf(found!.restoreOptimizer(optimizerOf(4)));
    expect(error).toMatchObject({
      code: 'INVALID_CHECKPOINT',
      message: expect.stringMatching(/a\.first must be F32 \[4\]; got F32 \[3\]/),
    });
  });

  it('stands beside no more than were to be kept', async () => {
    for (const step of [2, 4, 10, 12]) await save(step, { keepLast: 2 });
    expect(readdirSync(dir)).toEqual(['step-000010', 'step-000012']);
    await save(12, { keepLast: 1 }); // written again
    expect(readdirSync(dir)).toEqual(['step-000012']);
  });

  it('clears away what a killed process left half written', async () => {
    mkdirSync(join(dir, 'step-000003.writing', 'policy'), { recursive: true });
    expect(await latestCheckpoint(dir)).toBeUndefined();
    await save(4);
    expect(readdirSync(dir)).toEqual(['step-000004']);
  });
});

describe('a checkpoint that is written once more', () => {
  const glance = async () => (await glanceAtLatest(dir))?.state;
  it('is there whenever the process is killed', async () => {
    const path = await save(4, { state: 'first', keepLast: 1 });
    renameSync(path, `${path}.replaced`); // the new one has not taken its place
    mkdirSync(`${path}.writing`);
    expect(await latestCheckpoint(dir)).toMatchObject({ step: 4, dir: `${path}.replaced`, state: 'first' });
    expect(await glance()).toBe('first');
    await save(4, { state: 'second', keepLast: 1 });
    expect(readdirSync(dir)).toEqual(['step-000004']);
    expect(await glance()).toBe('second');
  });

  it('leaves nothing of the one before, even if it was killed before that was deleted', async () => {
    const path = await save(4, { state: 'second' });
    cpSync(path, `${path}.replaced`, { recursive: true });
    expect(await latestCheckpoint(dir)).toMatchObject({ step: 4, dir: path });
    expect(readdirSync(dir)).toEqual(['step-000004']);
  });

  it('stands for one that is damaged, until there is another', async () => {
    const path = await save(4, { state: 'first' });
    renameSync(path, `${path}.replaced`);
    await save(3, { state: 'third', keepLast: 9 }); // another run's: what stands aside is gone
    expect(readdirSync(dir)).toEqual(['step-000003']);
    const again = await save(4, { state: 'fourth' });
    cpSync(again, `${again}.replaced`, { recursive: true });
    rmSync(join(again, 'state.json'));
    expect(await latestCheckpoint(dir)).toMatchObject({ step: 4, dir: `${again}.replaced`, state: 'fourth' });
    await save(4, { state: 'fifth' });
    expect(await latestCheckpoint(dir)).toMatchObject({ step: 4, dir: again, state: 'fifth' });
    expect(readdirSync(dir)).toEqual(['step-000003', 'step-000004']);
  });

  it('is not what only looks like one', async () => {
    mkdirSync(join(dir, 'step-000009.replaced'), { recursive: true });
    writeFileSync(join(dir, 'step-000001.replaced'), 'a file');
    expect(await latestCheckpoint(dir)).toBeUndefined();
    expect(await glance()).toBeUndefined();
    await save(2);
    expect(readdirSync(dir)).toEqual(['step-000002']);
  });

  it('stays what it was where the new one cannot be written', async () => {
    await save(4, { state: 'first' });
    const broken = { save: () => Promise.reject(new Error('no')) };
    const content = { step: 4, policy: broken, optimizer: optimizerOf(3), state: 'second' };
    await rejectionOf(saveCheckpoint(dir, content, { keepLast: 1 }));
    expect(await latestCheckpoint(dir)).toMatchObject({ step: 4, state: 'first' });
  });
});

describe('a damaged checkpoint', () => {
  const damages: [string, (path: string) => void, RegExp][] = [
    [
      'with a changed byte',
      (path) => appendFileSync(join(path, 'policy', 'model.safetensors'), '!'),
      /model\.safetensors is not as it was written/,
    ],
    ['without a file', (path) => rmSync(join(path, 'optimizer.safetensors')), /optimizer\.safetensors is missing/],
    ['without a manifest', (path) => rmSync(join(path, 'manifest.json')), /incomplete/],
    [
      'of another version',
      (path) => writeFileSync(join(path, 'manifest.json'), '{"version": 99, "files": {}}'),
      /version 1 was wanted; got 99/,
    ],
  ];

  it.each(damages)('%s is passed over for the one before it', async (_, damage, reason) => {
    await save(5, { state: 'before' });
    damage(await save(6));
    const reasons: string[] = [];
    expect(await latestCheckpoint(dir, (why) => void reasons.push(why))).toMatchObject({ step: 5, state: 'before' });
    expect(reasons).toEqual([expect.stringMatching(reason)]);
    expect((await rejectionOf(openCheckpointFolder(join(dir, 'step-000006')))).code).toBe('INVALID_CHECKPOINT');
  });

  it('is an error if it is the only one: a run must not begin anew unasked', async () => {
    rmSync(join(await save(6), 'state.json'));
    const error = await rejectionOf(latestCheckpoint(dir));
    expect(error).toMatchObject({
      code: 'INVALID_CHECKPOINT',
      message: expect.stringMatching(/no checkpoint is whole.*state\.json is missing/),
    });
  });

  it('is something else than none', async () => {
    expect(await latestCheckpoint(join(dir, 'nowhere'))).toBeUndefined();
  });
});

describe('a disk that is full', () => {
  it('is noticed before anything is written, and leaves the checkpoint before', async () => {
    await save(1);
    vi.mocked(fs.statfs).mockResolvedValueOnce({ bavail: 100, bsize: 512 } as Awaited<ReturnType<typeof fs.statfs>>);
    const error = await rejectionOf(save(2, { keepLast: 1 }));
    expect(error).toMatchObject({
      code: 'IO',
      message: expect.stringMatching(/1\.\d MB are wanted, 0\.1 MB are free/),
    });
    expect(readdirSync(dir)).toEqual(['step-000001']);
  });

  it('leaves the checkpoint before if it fills up while writing', async () => {
    await save(1);
    const full = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC', syscall: 'write' });
    const broken = { save: () => Promise.reject(full) };
    const error = await rejectionOf(
      saveCheckpoint(dir, { step: 2, policy: broken, optimizer: optimizerOf(3), state: 0 }, { keepLast: 1 }),
    );
    expect(error).toMatchObject({
      code: 'IO',
      message: expect.stringMatching(/step-000002: checkpoint not written: ENOSPC/),
    });
    expect(readdirSync(dir)).toEqual(['step-000001']);
    expect(existsSync(join(dir, 'step-000001', 'manifest.json'))).toBe(true);
  });
});
