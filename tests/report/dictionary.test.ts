import { expect, it } from 'vitest';
import { metricNamed, METRICS } from '../../lib/report/dictionary.ts';

it('explains every number once, and says something', () => {
  expect(new Set(METRICS.map(({ name }) => name)).size).toBe(METRICS.length);
  for (const { name, meaning, over } of METRICS) {
    expect(meaning, name).not.toBe('');
    expect(over, name).not.toBe('');
  }
});

it.each([
  ['actor/entropy', 'actor/entropy'],
  ['actor/entropy/chart_figure_qa', 'actor/entropy/{task}'],
  ['val/ocr_accuracy_reward', 'val/{task}_accuracy_reward'],
  ['val/accuracy_macro', 'val/accuracy_macro'],
  ['val_spatial_grounding_response_length/clip_ratio', 'val_{task}_response_length/clip_ratio'],
  ['actor/entropyx', undefined],
  ['val_response_length/mean', undefined],
])('%s is %s', (name, entry) => expect(metricNamed(name)?.name).toBe(entry));
