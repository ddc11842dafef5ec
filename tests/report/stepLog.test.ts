import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openStepLog, type LogRow } from '../../lib/report/stepLog.ts';
import { root } from '../structure/files.ts';

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'g2rpo-log-'))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const file = () => join(dir, 'metrics.jsonl');
const replaced = () => join(dir, 'metrics.replaced.jsonl');
const rows = (path: string) =>
  existsSync(path)
    ? readFileSync(path, 'utf8')
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line) as Record<string, unknown>)
    : [];
async function write(afterStep: number, ...all: LogRow[]): Promise<LogRow[]> {
  const kept: LogRow[] = [];
  const log = await openStepLog(dir, 'metrics', afterStep, (row) => kept.push(row));
  for (const row of all) await log.append(row);
  await log.close();
  return kept;
}

describe('a log', () => {
  it('has one object per line, in the order of the calls, awaited or not', async () => {
    dir = join(dir, 'made', 'on the way');
    const log = await openStepLog(dir, 'metrics', -1);
    await Promise.all([1, 2, 2, 3].map((step, i) => log.append({ step, i })));
    await log.close();
    expect(rows(file())).toEqual([1, 2, 2, 3].map((step, i) => ({ step, i })));
    expect(existsSync(replaced())).toBe(false);
  });

  it('spells out what JSON lacks', async () => {
    await write(-1, { step: 1, loss: Number.NaN, up: Infinity, nested: [{ down: -Infinity }] });
    expect(rows(file())).toEqual([{ step: 1, loss: 'NaN', up: 'Infinity', nested: [{ down: '-Infinity' }] }]);
  });

  it('refuses a step that goes back', async () => {
    const log = await openStepLog(dir, 'metrics', -1);
    await log.append({ step: 5 });
    expect(() => log.append({ step: 4 })).toThrow(/step must be a whole number from 5; got 4/);
    expect(() => log.append({ step: 5.5 })).toThrow(/got 5.5/);
    await log.close();
    expect(rows(file())).toEqual([{ step: 5 }]);
  });

  it('says which file cannot be written', async () => {
    writeFileSync(join(dir, 'file'), '');
    await expect(openStepLog(join(dir, 'file'), 'metrics', -1)).rejects.toMatchObject({ code: 'IO' });
    mkdirSync(file());
    await expect(openStepLog(dir, 'metrics', -1)).rejects.toThrow(/metrics\.jsonl/);
  });
});

describe('opened again behind a step', () => {
  it('keeps rows up to the step and sets later ones aside', async () => {
    await write(-1, { step: 0, a: 1 }, { step: 1 }, { step: 2 }, { step: 3 });
    expect(await write(1, { step: 2, again: true })).toEqual([{ step: 0, a: 1 }, { step: 1 }]);
    expect(rows(file())).toEqual([{ step: 0, a: 1 }, { step: 1 }, { step: 2, again: true }]);
    expect(rows(replaced())).toEqual([{ step: 2 }, { step: 3 }]);
    await write(-1);
    expect(rows(file())).toEqual([]);
    expect(rows(replaced()).slice(2)).toEqual([{ step: 0, a: 1 }, { step: 1 }, { step: 2, again: true }]);
  });

  it.each([
    ['half a row', '{"step":2,"lo'],
    ['a row that was cut in a number', '{"step":2,"loss":1'],
    ['bytes of a block that was never written', '\0\0\0\0'],
    ['something else', '[1, 2]\nnull\n{"loss": 1}'],
  ])('sets %s aside', async (_, torn) => {
    await write(-1, { step: 1 });
    appendFileSync(file(), torn);
    await write(5, { step: 2 });
    expect(rows(file())).toEqual([{ step: 1 }, { step: 2 }]);
    expect(rows(replaced())).toEqual(torn.split('\n').map((unreadable) => ({ unreadable })));
  });

  it('keeps a whole last row that lacks only its line break', async () => {
    await write(-1, { step: 1 });
    appendFileSync(file(), '{"step":2}');
    await write(5, { step: 3 });
    expect(rows(file())).toEqual([{ step: 1 }, { step: 2 }, { step: 3 }]);
  });

  it('moves rows once, should the power fail between setting aside and taking away', async () => {
    await write(-1, { step: 1 }, { step: 2 });
    const before = readFileSync(file());
    await write(1);
    writeFileSync(file(), before);
    await write(1);
    expect(rows(file())).toEqual([{ step: 1 }]);
    expect(rows(replaced())).toEqual([{ step: 2 }]);
  });

  it('loses nothing, wherever the file was cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 80 }), fc.integer({ min: -1, max: 5 }), async (cut, after) => {
        rmSync(dir, { recursive: true, force: true });
        await write(-1, ...[0, 1, 2, 3, 4].map((step) => ({ step, reward: step / 3 })));
        const whole = readFileSync(file(), 'utf8');
        const text = whole.slice(0, cut);
        writeFileSync(file(), text);
        const kept = await write(after);
        expect(rows(file())).toEqual(kept);
        expect(kept.every(({ step }) => step <= after)).toBe(true);
        const all = [...rows(file()), ...rows(replaced())];
        const pieces = text.split('\n').filter((piece) => piece !== '');
        expect(all).toHaveLength(pieces.length);
      }),
      { numRuns: 40 },
    );
  });
});

it('has on disk whatever was awaited when the process is killed', async () => {
  const program = `
    const { createJiti } = await import('jiti');
    const { openStepLog } = await createJiti(process.cwd() + '/').import('./lib/report/stepLog.ts');
    const log = await openStepLog(${JSON.stringify(dir)}, 'metrics', -1);
    for (let step = 0; ; step++) { await log.append({ step, text: 'x'.repeat(1000) }); console.log(step); }`;
  const writer = spawn(process.execPath, ['--input-type=module', '-e', program], { cwd: root });
  let reported = -1;
  writer.stdout.on('data', (data: Buffer) => {
    reported = Math.max(reported, ...data.toString().trim().split('\n').map(Number));
    if (reported >= 20) writer.kill('SIGKILL');
  });
  await once(writer, 'exit');
  const kept = await write(1e6);
  expect(reported).toBeGreaterThanOrEqual(20);
  expect(kept.length).toBeGreaterThan(reported);
  expect(kept.map(({ step }) => step)).toEqual(kept.map((_, i) => i));
});
