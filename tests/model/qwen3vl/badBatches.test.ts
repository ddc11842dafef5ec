import { afterAll, beforeAll, expect, it } from 'vitest';
import { Policy, type PolicyBatch } from '../../../lib/model/qwen3vl/policy.ts';
import { likelihood } from '../../../lib/train/likelihood.ts';
import { detached } from '../../support/detached.ts';
import { rejectionOf } from '../../support/thrown.ts';
import { writeGoldenCheckpoint } from '../../support/syntheticCheckpoint.ts';

let policy: Policy;
beforeAll(async () => {
  policy = await Policy.load(await writeGoldenCheckpoint('nano'));
});
afterAll(() => policy.dispose());

/** One text, of which some tokens are targets. */
const batchOf = (ids: number[], targets: number[] = []): PolicyBatch => ({
  inputIds: Int32Array.from(ids),
  positionIds: Int32Array.from({ length: 3 * ids.length }, (_, i) => i % ids.length),
  segmentStarts: Int32Array.of(0, ids.length),
  segmentPrefix: Int32Array.of(-1),
  images: [],
  visualRows: new Int32Array(),
  visualSource: new Int32Array(),
  targetRows: Int32Array.from(targets.keys()),
  targetIds: Int32Array.from(targets),
});

it.each<[string, PolicyBatch]>([
  ['tokens, none of which is a target', batchOf([1, 2, 3])],
  ['no token', batchOf([])],
])('%s: every list of the scores is there, and empty', async (_, batch) => {
  policy.zeroGradients();
  const { logProbs, entropy, loss, clipped } = await policy.forwardBackward(batch, likelihood(0));
  expect([logProbs, entropy, loss]).toEqual(Array(3).fill(new Float32Array()));
  expect(clipped).toEqual(new Int32Array());
  for (const { name, gradient } of policy.trained)
    expect(
      (await gradient!.read()).every((g) => g === 0),
      name,
    ).toBe(true);
});

const good = () => batchOf([1, 2, 3], [2, 3]);
const prompt = (positions: number[]) => ({
  ...{ inputIds: Int32Array.of(1, 2), positionIds: Int32Array.from(positions) },
  ...{ ropeDelta: 0, images: [], visualRows: new Int32Array() },
});
it.each<[string, () => Promise<unknown>, string]>([
  [
    'a negative position',
    () => policy.forward({ ...good(), positionIds: Int32Array.of(0, 1, 2, 0, -5, 2, 0, 1, 2) }),
    'positionIds[4] must be in [0, 1073741824); got -5',
  ],
  [
    'the same of a prompt',
    () => policy.submit({ prompt: prompt([0, 1, 0, -5, 0, 1]), maxTokens: 1 }),
    'positionIds[3] must be in [0, 1073741824); got -5',
  ],
  [
    'a position far away',
    () => policy.forward({ ...good(), positionIds: new Int32Array(9).fill(2 ** 31 - 1) }),
    'positionIds[0] must be in [0, 1073741824); got 2147483647',
  ],
  [
    'the same of a prompt',
    () => policy.submit({ prompt: prompt([0, 1, 0, 1, 0, 2 ** 30]), maxTokens: 1 }),
    'positionIds[5] must be in [0, 1073741824); got 1073741824',
  ],
  [
    'a target behind the vocabulary',
    () => policy.forwardBackward(batchOf([1, 2, 3], [2, 320]), likelihood(2)),
    'targetIds[1] must be in [0, 320); got 320',
  ],
  [
    'a target of no row',
    () => policy.forward({ ...good(), targetRows: Int32Array.of(0, 3) }),
    'targetRows[1] must be in [0, 3); got 3',
  ],
  ['logits of no row', () => policy.logits(good(), Int32Array.of(2, -1)), 'rows[1] must be in [0, 3); got -1'],
  [
    'a visual token of no row',
    () => policy.forward({ ...good(), visualRows: Int32Array.of(7), visualSource: Int32Array.of(0) }),
    'visualRows[0] must be in [0, 3); got 7',
  ],
  [
    'one that no picture has',
    () => policy.forward({ ...good(), visualRows: Int32Array.of(1), visualSource: Int32Array.of(0) }),
    'visualSource[0] must be in [0, 0); got 0',
  ],
])('%s is told with its place', async (_, call, message) => {
  // prettier-ignore
  expect(await rejectionOf(call())).toMatchObject({ code: 'INVALID_ARGUMENT', message: `batch: ${message}` });
});

const lists = Object.keys(batchOf([])).filter((key) => key !== 'images') as Exclude<keyof PolicyBatch, 'images'>[];
it.each(lists)('%s whose memory was given away is named, and so is one that is not there', async (key) => {
  const calls: ((batch: PolicyBatch) => Promise<unknown>)[] = [
    (batch) => policy.forward(batch),
    (batch) => policy.forwardBackward(batch, likelihood(2)),
    (batch) => policy.logits(batch, Int32Array.of(0)),
  ];
  for (const call of calls) {
    const gone = { ...good(), [key]: detached(Int32Array.of(1)) };
    const message = `policy: ${key} must be a list with its memory; got Int32Array whose buffer is detached`;
    expect(await rejectionOf(call(gone))).toMatchObject({ code: 'INVALID_ARGUMENT', message });
    const without = await rejectionOf(call({ ...good(), [key]: undefined }));
    expect(without.message).toBe(`policy: ${key} must be a list; got undefined`);
  }
});

it('rows of logits whose memory was given away are refused, as lists of a loss are', async () => {
  const rows = await rejectionOf(policy.logits(good(), detached(Int32Array.of(0))));
  expect(rows.message).toMatch(/^policy: rows must be a list with its memory/);
  const loss = { ...likelihood(2), weights: detached(new Float32Array(2)) };
  const weights = await rejectionOf(policy.forwardBackward(good(), loss));
  expect(weights.message).toMatch(/^loss: weights must be a list with its memory/);
});
