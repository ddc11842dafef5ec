import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { loadSftConfig } from '../../lib/train/config.ts';
import { sft } from '../../lib/train/sft.ts';
import { smallRuns } from '../support/smallRuns.ts';

const { at, sftConfigOf, reported, validationsOf, outcomeOf } = smallRuns();

describe('a cold start', () => {
  const phases = () => [
    { name: 'labels', demonstrations: [{ files: at('gallery', 'demonstrations.jsonl') }], steps: 3, batchRows: 3 },
    {
      name: 'both',
      demonstrations: [{ files: at('gallery', 'demonstrations.jsonl'), share: 2 }, { files: at('words.jsonl') }],
      ...{ steps: 3, batchRows: 3, learningRate: 1e-3 },
    },
  ];

  it('that is asked to stop in any phase, or before a validation, goes on to the same bytes and the same rows', async () => {
    const configFor = (output: string) => loadSftConfig(sftConfigOf(output, phases(), { eval: { everySteps: 5 } }));
    await reported('sft-straight', (reporter) => sft(configFor('sft-straight'), reporter));
    const config = configFor('sft-stopped');
    for (const last of [1, 3, 5, 6]) {
      const stop = new AbortController();
      const onStep = (step: number) => step === last && stop.abort();
      const result = await reported('sft-stopped', (reporter) => sft(config, reporter, stop.signal), onStep);
      expect(result).toMatchObject({ step: last, stopped: true });
    }
    expect(await reported('sft-stopped', (reporter) => sft(config, reporter))).toMatchObject({
      step: 6,
      stopped: false,
    });
    expect(await validationsOf('sft-stopped', (reporter) => sft(config, reporter))).toBe(0);
    const [stopped, straight] = [outcomeOf('sft-stopped'), outcomeOf('sft-straight')];
    expect({ ...stopped, checkpoints: [] }).toEqual({ ...straight, checkpoints: [] });
  });

  it('draws rows without a picture one by one', async () => {
    const phase = { name: 'words', demonstrations: [{ files: at('words.jsonl') }], steps: 1, batchRows: 2 };
    const config = loadSftConfig(sftConfigOf('sft-words', [phase], { data: { template: 'plain' } }));
    await reported('sft-words', (reporter) => sft(config, reporter));
    const [row] = readFileSync(at('sft-words', 'metrics.jsonl'), 'utf8').split('\n');
    // two of six words, each with its stop token
    expect((JSON.parse(row!) as Record<string, number>)['actor/tokens']).toBeLessThan(12);
  });

  it('lowers the loss of what it is shown', async () => {
    const phase = {
      name: 'words',
      demonstrations: [{ files: at('words.jsonl') }],
      steps: 30,
      batchRows: 6,
      learningRate: 1e-2,
    };
    const config = loadSftConfig(sftConfigOf('sft-learns', [phase], { data: { template: 'plain' } }));
    const losses: number[] = [];
    await reported('sft-learns', (reporter) =>
      sft(config, { ...reporter, step: ({ metrics }) => void losses.push(metrics['sft/loss']!) }),
    );
    expect(losses[0]).toBeGreaterThan(3);
    expect(losses.at(-1)).toBeLessThan(0.5);
  });
});
