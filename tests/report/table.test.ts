import { expect, it } from 'vitest';
import { paintIn } from '../../lib/report/displayText.ts';
import { duration, formatTable, percent, points } from '../../lib/report/table.ts';

it('columns are aligned by what is seen', () => {
  const rows = [
    ['task', 'now', 'change'],
    ['math', '61.5', '+10.0'],
    ['图表', '8.0', '−1.5'],
    ['a\nb', '', ''],
  ];
  expect(formatTable(rows)).toBe(['task   now  change', 'math  61.5   +10.0', '图表   8.0    −1.5', 'a b'].join('\n'));
  expect(formatTable(rows.slice(0, 2), { right: () => false })).toBe('task  now   change\nmath  61.5  +10.0');
  expect(formatTable([])).toBe('');
});

it('paint does not move anything', () => {
  const rows = [
    ['task', 'change'],
    ['math', '+1.0'],
  ];
  const painted = formatTable(rows, { paint: paintIn(true), style: (_, c) => (c === 1 ? 'green' : undefined) });
  expect(painted).toBe('\u001b[1mtask\u001b[22m  \u001b[1mchange\u001b[22m\nmath    \u001b[32m+1.0\u001b[39m');
});

it('numbers are written for people', () => {
  expect([percent(0.615), percent(1), percent(undefined), percent(Number.NaN)]).toEqual(['61.5', '100.0', '–', '–']);
  expect([points(0.1), points(-0.0151), points(0.0004), points(-0.0004), points(undefined)]).toEqual([
    ...['+10.0', '−1.5', '0.0', '0.0', '–'],
  ]);
  expect([0.84, 41.7, 59.6, 187, 7387, 86400].map(duration)).toEqual([
    ...['0.8 s', '42 s', '1:00', '3:07', '2:03:07', '24:00:00'],
  ]);
  expect(duration(Number.NaN)).toBe('–');
});
