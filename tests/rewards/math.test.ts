import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mathReward } from '../../lib/rewards/math.ts';

const same: [string, string][] = [
  ['42', '42'],
  ['42.0', '42'],
  ['1/2', '0.5'],
  ['\\frac{1}{2}', '0.5'],
  ['\\frac12', '\\dfrac{1}{2}'],
  ['-\\frac{3}{4}', '\\frac{-3}{4}'],
  ['−3', '-3'],
  ['1,234,567', '1234567'],
  ['1{,}234', '1234'],
  ['$12$', '12'],
  ['\\$12.50', '12.5'],
  ['50%', '50'],
  ['50\\%', '0.5'],
  ['50 percent', '50%'],
  ['2^{10}', '1024'],
  ['\\sqrt{8}', '2\\sqrt{2}'],
  ['√12', '2√3'],
  ['\\sqrt{16}', '4'],
  ['\\sqrt[3]{27}', '3'],
  ['\\frac{1}{\\sqrt{2}}', '\\frac{\\sqrt{2}}{2}'],
  ['2\\pi', '2π'],
  ['6.283185', '2\\pi'],
  ['1\\frac{1}{2}', '3/2'],
  ['1 1/2', '1.5'],
  ['-1 1/2', '-3/2'],
  ['3 cm', '3'],
  ['12\\text{ cm}^2', '12 square centimeters'],
  ['90^\\circ', '90'],
  ['5 meters per second', '5 m/s'],
  ['x = 3', '3'],
  ['3', 'x=3'],
  ['x = 1 + 2 = 3', '3'],
  ['(1, 2)', '(1,2)'],
  ['\\left(\\frac{1}{2}, 3\\right)', '(0.5, 3)'],
  ['\\{1, 2, 3\\}', '{3, 2, 1}'],
  ['1, 2', '2, 1'],
  ['x=1 or x=2', '2, 1'],
  ['3 \\pm 2', '5, 1'],
  ['[0, \\infty)', '[0,∞)'],
  ['(-\\infty, 1) \\cup (2, 3]', '(2,3] ∪ (-∞,1)'],
  ['2x + 3', '3 + 2x'],
  ['(x+1)^2', 'x^2+2x+1'],
  ['y = 2x + 1', '2x - y + 1 = 0'],
  ['x > 3', '3 < x'],
  ['x \\ge 3', 'x ≥ 3'],
  ['x \\in [1,2]', '[1,2]'],
  ['\\boxed{7}', '7'],
  ['so we get \\boxed{\\frac{a}{b}}', 'a/b'],
  ['\\begin{pmatrix}1 & 2\\\\3 & 4\\end{pmatrix}', '\\begin{bmatrix} 1&2 \\\\ 3&\\frac{8}{2} \\end{bmatrix}'],
  ['\\text{Yes}', 'yes'],
  ['\\sin^2 x + \\cos^2 x', '1'],
  ['\\log_2 8', '3'],
  ['5!', '120'],
  ['|-3|', '3'],
  ['1.2e3', '1200'],
  ['3 \\times 10^5', '300000'],
  ['AB = 5', '5'],
  ['e^{2}', 'e^2'],
  ['x_1', 'x_{1}'],
];

const different: [string, string][] = [
  ['41', '42'],
  ['0.33', '1/3'],
  ['3.14', '\\pi'],
  ['-3', '3'],
  ['1000000000000000000001', '1000000000000000000002'],
  ['5 cm', '5 m'],
  ['0.5%', '50'],
  ['(2, 1)', '(1, 2)'],
  ['(1, 2)', '[1, 2]'],
  ['(1, 2]', '(1, 2)'],
  ['1, 2', '1, 2, 3'],
  ['1, 1', '1, 2'],
  ['x + 1', 'x - 1'],
  ['x', 'y'],
  ['x > 3', 'x < 3'],
  ['x > 3', 'x \\ge 3'],
  ['x = 3', '4'],
  ['y = 2x', 'y = 3x'],
  ['tac', 'cat'],
  ['', '1'],
  ['1/0', '0'],
  ['1/0', '1/0 + 1'],
  ['\\sqrt{-1}', '1'],
  ['9^9^9^9', '8^8^8^8'],
  ['\\frac{1}{2', '1/2'],
  ['1 or 2', '1'],
  ['\\infty', '-\\infty'],
  ['12 34', '1234'],
];

describe('mathReward', () => {
  it.each(same)('%s is %s', (a, b) => expect([mathReward(a, b), mathReward(b, a)]).toEqual([1, 1]));
  it.each(different)('%s is not %s', (a, b) => expect([mathReward(a, b), mathReward(b, a)]).toEqual([0, 0]));

  it('finds the answer in a sentence', () => expect(mathReward('So the answer is 12.', '12')).toBe(1));

  it('takes every text for an answer and never throws', () => {
    const piece = fc.constantFrom(
      ...'0123456789abxy+-*/^=<>()[]{},.|!% \\_$±∪'.split(''),
      '\\frac',
      '\\sqrt',
      '\\boxed{',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), fc.array(piece, { maxLength: 30 }), (a, b) => {
        expect([0, 1]).toContain(mathReward(a.join(''), b.join('')));
      }),
      { numRuns: 2000 },
    );
  });

  it('reads every fraction as its quotient', () => {
    const whole = fc.integer({ min: -999, max: 999 });
    fc.assert(
      fc.property(whole, fc.integer({ min: 1, max: 999 }), fc.integer({ min: 1, max: 99 }), (n, d, k) => {
        expect(mathReward(`\\frac{${n * k}}{${d * k}}`, `${n}/${d}`)).toBe(1);
        expect(mathReward(`${n}/${d}`, `${n + 1}/${d}`)).toBe(0);
      }),
    );
  });

  it('stays quick on hostile input', () => {
    const start = performance.now();
    for (const text of [
      '('.repeat(3900),
      '9^'.repeat(900) + '9',
      '1,'.repeat(1900),
      '\\frac'.repeat(700),
      '-'.repeat(1900),
    ])
      mathReward(text, '3');
    mathReward('9^9^9', '9^9^9+1');
    mathReward('500!^39', '500!^38');
    expect(performance.now() - start).toBeLessThan(2000); // about 50 ms; a loop that explodes takes minutes
  });
});
