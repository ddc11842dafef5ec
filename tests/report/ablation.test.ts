import { describe, expect, it } from 'vitest';
import { ablationReport } from '../../lib/report/ablation.ts';
import { chart } from '../../lib/report/chart.ts';
import { estimate } from '../../lib/report/confidence.ts';
import type { TrialRecord } from '../../lib/types.ts';

describe('an estimate', () => {
  it('is the mean with the margin of Student’s t', () => {
    const { mean, margin } = estimate([1, 2, 3]);
    expect(mean).toBe(2);
    expect(margin).toBeCloseTo(4.303 / Math.sqrt(3), 12); // the standard deviation is 1
    expect(estimate([5, 5]).margin).toBe(0);
    expect(estimate([7]).margin).toBeNaN();
    expect(estimate(Array.from({ length: 40 }, (_, i) => i % 2)).margin).toBeCloseTo(
      1.96 * Math.sqrt(10 / 39 / 40),
      12,
    );
  });
});

/** Accuracy moves from .5 by `gain`; task a has three quarters of the push, b the rest or is absent. */
const record = (variant: string, seed: number, gain: number): TrialRecord => ({
  variant,
  seed,
  steps: 20,
  rows: [
    { step: 0, 'val/accuracy_macro': 0.5, 'val/a_accuracy_reward': 0.4, 'val/b_accuracy_reward': 0.6 },
    ...Array.from({ length: 20 }, (_, i) => ({
      step: i + 1,
      'actor/pg_loss': 0,
      'actor/entropy': 0.3,
      'actor/gradient_share/a': i % 2 ? 0.5 : 1,
      ...(i % 2 && { 'actor/gradient_share/b': 0.5 }),
      'response_length/mean': 7,
    })),
    {
      step: 20,
      'val/accuracy_macro': 0.5 + gain,
      'val/a_accuracy_reward': 0.4 + gain,
      'val/b_accuracy_reward': 0.6 + gain,
    },
  ],
});
const options = { variants: ['one', 'two', 'never run'], reference: 'two', command: 'g2rpo ablate x.yaml' };

describe('the report of an ablation', () => {
  const report = ablationReport(
    [
      record('one', 1, 0.1),
      record('one', 2, 0.2),
      record('two', 1, 0.15),
      record('two', 2, 0.25),
      record('two', 3, 0.9),
    ],
    options,
  );
  const line = (start: string) => report['table.md'].split('\n').filter((each) => each.startsWith(`| ${start}`));

  it('compares seed by seed', () => {
    const [accuracies, shares] = line('one');
    expect(accuracies!.split('|').map((cell) => cell.trim())).toEqual([
      '',
      'one',
      '2',
      '65.0 ± 63.5',
      '−5.0 ± 0.0',
      '55.0 ± 63.5',
      '75.0 ± 63.5',
      '7.0',
      '0.300',
      '',
    ]);
    expect(shares).toMatch(/75\.0 ± 0\.0 \| +25\.0 ± 0\.0/);
    expect(line('before')[0]).toContain('50.0');
    expect(report['table.md']).not.toContain('never run');
  });

  it('draws curves that are well-formed and within their frame', () => {
    for (const [name, svg] of Object.entries(report)) {
      if (!name.endsWith('.svg')) continue;
      expect(svg, name).toMatch(/^<svg [^>]*>\n[\s\S]*<\/svg>\n$/);
      expect(svg, name).not.toMatch(/NaN|undefined|Infinity/);
      expect(svg.match(/<g /g)?.length, name).toBe(svg.match(/<\/g>/g)?.length);
    }
    expect(report['gradient-share.svg']).toContain('>two<');
  });
});

describe('a chart', () => {
  it('escapes labels, and has no curve for no points', () => {
    const svg = chart([{ title: 'a < b & c', series: [{ label: '<x>', colour: '#000', points: [] }] }], {
      title: 't',
      xLabel: 'x',
      yLabel: 'y',
    });
    expect(svg).toContain('a &lt; b &amp; c');
    expect(svg).toContain('&lt;x&gt;');
    expect(svg).not.toContain('NaN');
  });
});
