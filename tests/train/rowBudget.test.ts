import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeGallery, writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { G2rpoError } from '../../lib/runtime/errors.ts';
import { limitMemory, memoryUse } from '../../lib/runtime/memory.ts';
import { loadSftConfig, loadTrainConfig } from '../../lib/train/config.ts';
import { RowBudget, withRemedy } from '../../lib/train/rowBudget.ts';
import { sft } from '../../lib/train/sft.ts';
import { train } from '../../lib/train/train.ts';
import { collectReports } from '../support/collectReports.ts';
import { rejectionOf } from '../support/thrown.ts';

describe('a budget of rows', () => {
  const list = [5, 5, 5, 5, 5, 5];
  const cut = (rows: number) => {
    const each = Math.max(1, Math.floor(rows / 5));
    return Array.from({ length: Math.ceil(list.length / each) }, (_, i) => list.slice(i * each, (i + 1) * each));
  };
  /** Memory for so many items at a time. */
  const room =
    (items: number, seen: number[] = []) =>
    async (parts: number[][]) => {
      for (const part of parts) {
        seen.push(part.length);
        if (part.length > items) throw new G2rpoError('OUT_OF_MEMORY', 'no room');
      }
      return parts.length;
    };

  it('is halved until it fits, begins anew each time, and stays', async () => {
    const notes: string[] = [];
    const seen: number[] = [];
    const budget = new RowBudget(1000, (text) => void notes.push(text));
    expect(await budget.within(cut, room(2, seen))).toBe(6);
    expect(seen).toEqual([6, 3, 1, 1, 1, 1, 1, 1]);
    expect(budget.rows).toBe(7);
    expect(notes.at(-1)).toBe(
      `memory is short (no room): from here on micro-batches of ${budget.rows} rows, as by train.microBatchTokens=${budget.rows}`,
    );
    const after = notes.length;
    await budget.within(cut, room(2));
    expect(notes).toHaveLength(after);
  });

  it('says so where nothing can be cut finer, and passes on what is not about memory', async () => {
    const budget = new RowBudget(30, () => undefined);
    const error = await rejectionOf(budget.within(cut, room(0)));
    expect(error.code).toBe('OUT_OF_MEMORY');
    expect(error.message).toBe('no room, and micro-batches of one rollout each are the smallest there are');
    const other = new G2rpoError('NON_FINITE', 'NaN');
    expect(await rejectionOf(budget.within(cut, () => Promise.reject(other)))).toBe(other);
  });
});

it('a device that is lost is told with what becomes of the run, and any other error as it is', () => {
  const settings = { optimizerInBackward: false };
  const lost = new G2rpoError('DEVICE_LOST', 'cuda: waiting: gone; start it again', { at: 1 });
  expect(withRemedy(lost, settings)).toMatchObject({
    ...{ code: 'DEVICE_LOST', details: { at: 1 }, cause: lost },
    message: 'cuda: waiting: gone; start it again: the run goes on from its last checkpoint',
  });
  for (const other of [new G2rpoError('DEVICE_FAILED', 'no'), new Error('no'), 3])
    expect(withRemedy(other, settings)).toBe(other);
});

describe('a training with train.memoryLimitMb', () => {
  let dir: string;
  const at = (...path: string[]) => join(dir, ...path);
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'g2rpo-memory-'));
    const demonstrations = { demonstrations: { scenes: 6 } };
    await writeGallery({ out: at('gallery'), train: 24, validation: 6, demonstrations, seed: 1 });
    await writeSmallPolicy(at('policy'), { seed: 3, hidden: 32, layers: 2, visionHidden: 32, visionDepth: 2 });
  });
  afterAll(() => {
    limitMemory(Infinity);
    rmSync(dir, { recursive: true, force: true });
  });

  const configOf = (output: string, changes: object) =>
    loadTrainConfig({
      output: at(output),
      policy: { path: at('policy') },
      data: { train: at('gallery', 'train.jsonl'), template: 'plain' },
      // prompts are sampled one at a time, so that the updates are what takes most
      rollout: { prompts: 6, n: 4, maxTokens: 12, batchPrompts: 1, filter: { low: -1, high: 2 } },
      train: { steps: 4, updatePrompts: 6, learningRate: 1e-2, saveEverySteps: 1, ...changes },
    });
  const start = async (output: string, changes: object, last?: number) => {
    const { reporter, notes } = collectReports();
    const stop = new AbortController();
    limitMemory(Infinity); // the peak begins anew
    await train(
      configOf(output, changes),
      { ...reporter, step: ({ step }) => void (step === last && stop.abort()) },
      stop.signal,
    );
    const weights = () =>
      createHash('sha256')
        .update(readFileSync(at(output, 'policy', 'model.safetensors')))
        .digest('hex');
    return { weights, notes, peak: memoryUse().peak };
  };

  it('ends as one whose micro-batches were configured to fit, killed between or not', async () => {
    const { peak } = await start('whole', {});
    const narrow = await start('narrow', { microBatchTokens: 200 });
    expect(narrow.peak).toBeLessThan(0.7 * peak);
    const memoryLimitMb = Math.ceil((narrow.peak + 0.4 * (peak - narrow.peak)) / 1e6);
    const limited = await start('limited', { memoryLimitMb });
    expect(limited.peak).toBeLessThanOrEqual(1e6 * memoryLimitMb);
    const rows = Number(/micro-batches of (\d+) rows/.exec(limited.notes.join())?.[1]);
    expect(rows).toBeGreaterThan(0);
    expect(memoryUse().limit).toBe(Infinity);
    const configured = await start('configured', { microBatchTokens: rows });
    expect(limited.weights()).toBe(configured.weights());
    await start('stopped', { memoryLimitMb }, 2);
    const resumed = await start('stopped', { memoryLimitMb });
    expect(resumed.notes.join()).not.toMatch(/memory is short/); // it knows
    expect(resumed.weights()).toBe(limited.weights());
  });

  it('that cannot hold the policy, or a single rollout, is refused with the numbers', async () => {
    const error = await rejectionOf(start('tiny', { memoryLimitMb: 1 }));
    expect(error.code).toBe('OUT_OF_MEMORY');
    expect(error.message).toMatch(/would pass the limit of 1.00 MB/);
    const { bytes } = memoryUse();
    await rejectionOf(start('tiny', { memoryLimitMb: 2 }));
    await expect.poll(() => memoryUse().bytes).toBe(bytes);
  });

  it('of demonstrations, too', async () => {
    const config = (output: string, changes: object) =>
      loadSftConfig({
        output: at(output),
        policy: { path: at('policy') },
        data: { template: 'plain' },
        rollout: { maxTokens: 4 },
        train: { saveEverySteps: 2, ...changes },
        phases: [
          { name: 'all', demonstrations: [{ files: at('gallery', 'demonstrations.jsonl') }], steps: 2, batchRows: 12 },
        ],
      });
    limitMemory(Infinity);
    await sft(config('sft', {}), collectReports().reporter);
    const { peak } = memoryUse();
    const { reporter, notes } = collectReports();
    await sft(config('sft-limited', { memoryLimitMb: Math.floor((0.8 * peak) / 1e6) }), reporter);
    expect(notes.join()).toMatch(/memory is short .* micro-batches of \d+ rows/);
  });
});
