import { describe, expect, it } from 'vitest';
import { loadSftConfig, loadTrainConfig } from '../../lib/train/config.ts';
import { sft } from '../../lib/train/sft.ts';
import { train } from '../../lib/train/train.ts';
import { onCpu } from '../support/onCpu.ts';
import { smallRuns } from '../support/smallRuns.ts';
import { rejectionOf } from '../support/thrown.ts';

const { at, configOf, sftConfigOf, reported, outcomeOf } = smallRuns();

describe('updates that the backward pass makes', () => {
  const inBackward = { optimizerInBackward: true, maxGradNorm: 0, microBatchTokens: 4096 };
  const settings = { ...inBackward, steps: 4, saveEverySteps: 2, ema: { decay: 0.5 } };
  const last = (output: string) => ({ ...outcomeOf(output), checkpoints: [] });

  it('leave the bytes of a training that makes them afterwards, to which a run may change', async () => {
    const afterwards = { ...settings, optimizerInBackward: false };
    await reported('afterwards', (reporter) => train(loadTrainConfig(configOf('afterwards', afterwards)), reporter));
    await reported('within', (reporter) => train(loadTrainConfig(configOf('within', settings)), reporter));
    const { metrics } = last('within');
    expect(metrics.some((row) => Number(row['actor/grad_norm']) > 0)).toBe(true);
    if (onCpu) expect(last('within')).toEqual(last('afterwards'));
    else expect(last('within').weights).toBe(last('afterwards').weights); // norms are added in another order there
    const stop = new AbortController();
    const onStep = (step: number) => step === 2 && stop.abort();
    const first = loadTrainConfig(configOf('changing', settings));
    await reported('changing', (reporter) => train(first, reporter, stop.signal), onStep);
    await reported('changing', (reporter) => train(loadTrainConfig(configOf('changing', afterwards)), reporter));
    expect(last('changing').weights).toBe(last('within').weights);
    expect(last('changing').moments).toBe(last('within').moments);
  });

  it('are refused where they would be cut, before anything has moved, and go on with room for them', async () => {
    const narrow = loadTrainConfig(configOf('cut', { ...settings, microBatchTokens: 8 }));
    const error = await rejectionOf(reported('cut', (reporter) => train(narrow, reporter)));
    expect(error.code).toBe('INVALID_CONFIG');
    expect(error.message).toMatch(
      /^train\.microBatchTokens must be at least \d+ for this update, which train\.optimizerInBackward makes in one backward pass; got 8/,
    );
    await reported('cut', (reporter) => train(loadTrainConfig(configOf('cut', settings)), reporter));
    expect(last('cut').weights).toBe(last('within').weights);
  });

  it('are those of a cold start, too', async () => {
    const phases = [
      { name: 'labels', demonstrations: [{ files: at('gallery', 'demonstrations.jsonl') }], steps: 3, batchRows: 3 },
    ];
    const run = (output: string, changes: object) => {
      const config = sftConfigOf(output, phases, { train: { saveEverySteps: 2, maxGradNorm: 0, ...changes } });
      return reported(output, (reporter) => sft(loadSftConfig(config), reporter));
    };
    await run('sft-afterwards', {});
    await run('sft-within', { optimizerInBackward: true });
    expect(last('sft-within').weights).toBe(last('sft-afterwards').weights);
    expect(last('sft-within').moments).toBe(last('sft-afterwards').moments);
    expect(await rejectionOf(run('sft-cut', { optimizerInBackward: true, microBatchTokens: 8 }))).toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringMatching(/microBatchTokens must be at least \d+/) as string,
    });
  });
});
