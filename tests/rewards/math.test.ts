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
  ['0.333333', '1/3'],
  ['\\frac{\\pi}{3}', '\\pi/3'],
  ['\\tan^{-1}(1)', '\\arctan(1)'],
  ['10\\%', '10'],
  ['(−∞, 2)', '(-\\infty,2)'],
  ['\\frac{3\\sqrt{3}}{2}', '\\frac{3}{2}\\sqrt{3}'],
  ['4\\sqrt{13}\\pi', '4\\pi\\sqrt{13}'],
  ['x=-1,\\ y=2', '(-1,2)'],
  ['$\\frac{5}{9}$ square units', '5/9'],
  ['\\text{(C)}', 'C'],
  ['2.50', '2.5'],
  ['$1{,}000', '1000'],
  ['36^\\circ', '36'],
  ['36°', '36^{\\circ}'],
  ['\\angle A = 36^\\circ', '36'],
  ['a=2, b=3', 'b=3, a=2'],
  ['x^{2}-1', '(x-1)(x+1)'],
  ['-x+2', '2-x'],
  ['\\frac{x+2}{7}', '(x+2)/7'],
  ['1.5 \\times 10^{-3}', '0.0015'],
  ['\\ln 2', '\\ln(2)'],
  ['2^{n+1}', '2\\cdot 2^n'],
  ['C_1 e^{x}', 'C_1e^x'],
  ['\\{x \\mid x>2\\}', '\\{x \\mid x>2\\}'],
  ['120 km/h', '120'],
  ['5\\,\\mathrm{cm}', '5\\mathrm{~cm}'],
  ['$\\left[\\frac{1}{2},1\\right)$', '[0.5,1)'],
  ['\\sqrt{2}/2', '\\frac{1}{\\sqrt2}'],
  ['7 \\text{ and } 8', '7,8'],
  ['m = \\frac{2}{3}', '2/3'],
  ['24\\pi \\text{ cm}^3', '24\\pi'],
  ['24π cm³', '24\\pi'],
  ['12 inches', '12 in'],
  ['2:3', '2:3'],
  ['3x', 'x*3'],
  ['f(x)=x^2', 'x^2'],
  ['11.0 m', '11'],
  ['\\frac{7}{2}', '3\\frac{1}{2}'],
  ['16 cm$^2$', '16'],
  ['r=5cm', '5'],
  ['\\overline{AB}', '\\overline{AB}'],
  ['n(n+1)/2', '\\frac{n^2+n}{2}'],
  ['90 degrees', '90^\\circ'],
  ['\\sqrt[4]{16}', '2'],
  ['-\\infty', '-∞'],
  ['\\frac{-b \\pm \\sqrt{b^2-4ac}}{2a}', '\\frac{-b\\pm\\sqrt{b^2-4ac}}{2a}'],
  ['2 : 3', '2:3'],
  ['k \\ne 0', 'k≠0'],
  ['1+\\sqrt{2}, 1-\\sqrt{2}', '1 \\pm \\sqrt{2}'],
  ['$5.00 \\text{ dollars}$', '5'],
  ['0.5', '.5'],
  ['3/4 cm', '\\frac{3}{4} cm'],
  ['60 N', '60'],
  ['1 < x < 3', '3 > x > 1'],
  ['x<3 ', '3>x'],
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
  ['0.333334567', '0.333334'],
  ['2:3', '3:2'],
  ['x^2', '2x'],
  ['\\sin x', '\\cos x'],
  ['(1,2),(3,4)', '(1,2),(4,3)'],
  ['5 cm^2', '5 cm'],
  ['10', '100%'],
  ['no', 'on it'],
  ['1.5', '1 5'],
  ['e', '2.718'],
  ['k=2', 'k=3'],
  ['x<3', 'x<=3'],
  ['\\frac{2}{3}', '0.6667'],
  ['sqrt(3)', '3'],
  ['ab', 'a+b'],
  ['3 m', '3 n'],
  ['A', 'B'],
  ['1,2,3', '(3,2,1)'],
  ['x=2', 'y=3'],
  ['0', '10^{-14}'],
  ['1.0000000001', '1'],
  ['5', '-5'],
  ['x+y=2', 'x+y=3'],
  ['no', 'on'],
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
