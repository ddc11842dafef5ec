import { describe, expect, it } from 'vitest';
import { multipleChoiceReward } from '../../lib/rewards/multipleChoice.ts';
import { numericalReward } from '../../lib/rewards/numerical.ts';
import { ocrReward } from '../../lib/rewards/ocr.ts';
import { regressionReward } from '../../lib/rewards/regression.ts';
import { segmentationReward } from '../../lib/rewards/segmentation.ts';
import { spatialGroundingReward } from '../../lib/rewards/spatialGrounding.ts';
import { spatialTemporalGroundingReward } from '../../lib/rewards/spatialTemporalGrounding.ts';
import { temporalGroundingReward } from '../../lib/rewards/temporalGrounding.ts';
import { trackingReward } from '../../lib/rewards/tracking.ts';

const invalid = (message: string) => expect.objectContaining({ code: 'INVALID_DATA', message });

describe('multipleChoiceReward', () => {
  it.each(['B', 'b', ' B ', '(B)', '[B]', 'B.', 'B. red', '(b) red', 'B: red', '**B**', '\\boxed{B}', '\\text{B}', 'Option B', 'The answer is B.', 'answer: (B)'])('%s names B', (text) => expect(multipleChoiceReward(text, 'B')).toBe(1)); // prettier-ignore
  it.each(['A', '', 'red', 'A red ball', 'Better', 'B or maybe not', 'AB'])('%s does not', (text) =>
    expect(multipleChoiceReward(text, 'B')).toBe(0),
  );
  it('compares several letters as a set', () => {
    expect(multipleChoiceReward('C, A', 'AC')).toBe(1);
    expect(multipleChoiceReward('A and C', 'A,C')).toBe(1);
    expect(multipleChoiceReward('A', 'AC')).toBe(0);
  });
  it('reads the letter of a ground truth with its text', () => expect(multipleChoiceReward('B', 'B. red')).toBe(1));
});

describe('numericalReward', () => {
  it.each([['1,234.5', '1234.50'], ['0.333', '0.33'], ['-0.001', '0'], ['1e2', '100'], ['.5', '0.5'], ['0.125', '0.12'], ['0.375', '0.38'], ['-0.125', '-0.12']])('%s equals %s', (a, b) => expect(numericalReward(a, b)).toBe(1)); // prettier-ignore
  it.each([['1.01', '1.02'], ['5 cm', '5'], ['', '0'], ['nan', '0'], ['1e999', '1'], ['0.125', '0.13'], ['1.2.3', '1.2']])('%s does not equal %s', (a, b) => expect(numericalReward(a, b)).toBe(0)); // prettier-ignore
  it('refuses a ground truth that is no number', () =>
    expect(() => numericalReward('1', 'one')).toThrow(
      invalid('numerical: the ground truth must be a number; got "one"'),
    ));
});

describe('regressionReward', () => {
  it('falls with the relative error', () => {
    const scores = ['100', '104', '112', '130', '149', '151'].map((text) => regressionReward(text, '100'));
    expect(scores).toEqual([1, 1, 0.8, 0.5, 0.1, 0]);
  });
  it('gives 0 to what is no number', () => expect(regressionReward('many', '3')).toBe(0));
  it('refuses a ground truth that is no number', () =>
    expect(() => regressionReward('1', '')).toThrow(invalid('regression: the ground truth must be a number; got ""')));
});

describe('ocrReward', () => {
  it('counts words', () => expect(ocrReward('the quick fox', 'the quick brown fox')).toBe(0.75));
  it('does not look at the kind of white space', () => expect(ocrReward('a\nb', 'a  b')).toBe(1));
  it('gives 1 to nothing for nothing and 0 to something for nothing', () =>
    expect([ocrReward('', ''), ocrReward('a', '')]).toEqual([1, 0]));
});

describe('answers in JSON', () => {
  const box = '{"boxes": [0, 0, 10, 10]}';
  it('scores boxes', () => {
    expect(spatialGroundingReward('{"boxes":[0,0,10,5]}', box)).toBe(0.5);
    const bad = ['', 'no', '[0,0,10,10]', '{"boxes":[0,0,10]}', '{"boxes":["0",0,10,10]}', '{"boxes":[0,0,10,10],}', '{"boxes":[0,0,10,1e999]}', 'null', '```json\n{"boxes":[0,0,10,10]}\n```']; // prettier-ignore
    expect(bad.map((text) => spatialGroundingReward(text, box))).toEqual(bad.map(() => 0));
  });
  it('scores time spans', () => {
    expect(temporalGroundingReward('{"time": [0, 5]}', '{"time": [0, 10]}')).toBe(0.5);
    expect(temporalGroundingReward('{"time": 5}', '{"time": [0, 10]}')).toBe(0);
  });
  it('scores tracks, a missing frame as 0', () => {
    const target = '{"boxes": {"1": [0, 0, 10, 10], "2": [0, 0, 10, 10]}}';
    expect(trackingReward('{"boxes": {"1": [0, 0, 10, 10], "9": [0, 0, 1, 1]}}', target)).toBe(0.5);
    expect(trackingReward('{"boxes": [0, 0, 10, 10]}', target)).toBe(0);
  });
  it('scores spans with tracks', () => {
    const target = '{"time": [0, 10], "boxes": {"1": [0, 0, 10, 10], "2": [0, 0, 10, 10]}}';
    expect(spatialTemporalGroundingReward('{"time": [0, 5], "boxes": {"1": [0, 0, 10, 10]}}', target)).toBe(0.75);
    expect(spatialTemporalGroundingReward('{"time": [0, 5]}', target)).toBe(0.25);
  });
  it('scores boxes with points, and time for videos', () => {
    const parts = '"boxes":[0,0,10,10],"positive_points":[[1,1],[2,2],[3,3]],"negative_points":[[90,1],[92,2],[93,3]]';
    expect(segmentationReward(`{${parts}}`, `{${parts}}`)).toBe(1);
    expect(segmentationReward(`{${parts},"time":4}`, `{${parts},"time":4}`)).toBeCloseTo(1, 12);
    expect(segmentationReward(`{${parts},"time":6}`, `{${parts},"time":4}`)).toBeCloseTo(0.7 + 0.3 * Math.exp(-1), 12);
    expect(segmentationReward('{"boxes":[0,0,10,10],"positive_points":[[1,1],[2,2]]}', `{${parts}}`)).toBe(0.5);
  });
  it('refuses ground truths it cannot read', () => {
    expect(() => spatialGroundingReward(box, '{"box": 1}')).toThrow(
      invalid('spatial grounding: the ground truth must be JSON like {"boxes": [x1, y1, x2, y2]}; got {"box": 1}'),
    );
    expect(() => trackingReward(box, '{"boxes": {}}')).toThrow(/tracking: the ground truth must be JSON like .*; got/);
    expect(() => temporalGroundingReward(box, 'x')).toThrow(/temporal grounding: the ground truth .*; got x/);
    expect(() => segmentationReward(box, box)).toThrow(/segmentation: the ground truth must be JSON like/);
  });
});
