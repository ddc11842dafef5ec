import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Group } from '../../lib/cli/command.ts';
import { commands } from '../../lib/cli/commands/index.ts';
import { g2rpo } from '../support/g2rpo.ts';

let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'g2rpo-cli-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function namesOf(group: Group, prefix: string[] = []): Promise<string[][]> {
  const all = Object.entries(group.commands).map(async ([name, load]) => {
    const command = await load();
    const names = [...prefix, name];
    return 'commands' in command ? [names, ...(await namesOf(command, names))] : [names];
  });
  return [prefix, ...(await Promise.all(all)).flat()].filter((names, i) => i === 0 || names !== prefix);
}

describe('help', async () => {
  it.each(await namesOf(commands))('%s %s: on the right stream, with code 0, without colours', async (...names) => {
    for (const flag of ['--help', '-h']) {
      const { code, stdout, stderr } = await g2rpo([...names, flag]);
      expect(code).toBe(0);
      expect(stderr).toBe('');
      expect(stdout).toContain(`USAGE ${['g2rpo', ...names].join(' ')}`);
      expect(stdout).not.toContain('\u001b');
    }
  });

  it('is what a command with parts shows when none is named, with code 2', async () => {
    expect(await g2rpo([])).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('USAGE g2rpo') });
    expect(await g2rpo(['data'])).toMatchObject({ code: 2, stderr: expect.stringContaining('gallery') });
  });
});

describe('a mistake', () => {
  it.each([
    [['kernel'], 'g2rpo has no command kernel; did you mean kernels?'],
    [['xyzzyxyz'], 'g2rpo has no command xyzzyxyz; there are '],
    [['constructor'], 'g2rpo has no command constructor; there are '],
    [['data', 'galery'], 'g2rpo data has no command galery; did you mean gallery?'],
    [['data', 'gallery', '--ot', 'x'], 'no option --ot; did you mean --out?'],
    [['doctor', 'now'], 'one argument too many: now'],
    [['generate', '--model', 'x'], '--prompt is missing'],
    [['data', 'gallery', '--out', 'x', '--cell-size', '7'], 'gallery.imageSize must be a multiple of cellSize (7)'],
  ])('%j is told on one line, with code 2', async (raw, message) => {
    const { code, stdout, stderr } = await g2rpo(raw);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stderr).toMatch(/^g2rpo: (INVALID_ARGUMENT|INVALID_CONFIG) {2}/);
  });

  it('of the world is told with its code and ends with 1; where it came from only when debugging', async () => {
    const raw = ['data', 'check', join(dir, 'nothing.jsonl')];
    const { code, stderr } = await g2rpo(raw);
    expect(code).toBe(1);
    expect(stderr).toBe(`g2rpo: IO  ${join(dir, 'nothing.jsonl')}: no such file or folder\n`);
    expect((await g2rpo(raw, { debug: 1 })).stderr).toMatch(/\n {4}at /);
  });
});

it('says its version', async () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  expect(await g2rpo(['--version'])).toMatchObject({ code: 0, stdout: `${version}\n` });
});

describe('data', () => {
  const gallery = () => join(dir, 'gallery');

  it('gallery draws a dataset, and check finds nothing wrong with it', async () => {
    const sizes = ['--train', '12', '--validation', '6', '--demonstrations', '6', '--tasks', 'math,ocr'];
    const made = await g2rpo(['data', 'gallery', '--out', gallery(), '--seed', '3', ...sizes]);
    expect(made.code, made.stderr).toBe(0);
    expect(made.stdout).toMatch(/train\.jsonl +12\nvalidation\.jsonl +6\ndemonstrations\.jsonl +18\npictures +24\n$/);
    const checked = await g2rpo(['data', 'check', join(gallery(), 'train.jsonl')]);
    expect(checked).toMatchObject({ code: 0, stderr: '' });
    expect(checked.stdout).toMatch(/12 good rows, 0 bad\n$/);
    const demonstrations = join(gallery(), 'demonstrations.jsonl');
    expect(await g2rpo(['data', 'check', demonstrations, '--demonstrations'])).toMatchObject({ code: 0 });
    expect(await g2rpo(['data', 'check', demonstrations])).toMatchObject({ code: 1 });
  });

  it('check names bad rows', async () => {
    const file = join(gallery(), 'train.jsonl');
    appendFileSync(file, '{"problem": "x", "answer": "1", "problem_type": "maths"}\nnot JSON\n{}\n');
    const { code, stdout } = await g2rpo(['data', 'check', file, '--limit', '2']);
    expect(code).toBe(1);
    expect(stdout).toContain('12 good rows, 3 bad');
    expect(stdout).toMatch(/train\.jsonl:13 \(row 13\): .*math/);
    expect(stdout).toMatch(/train\.jsonl:14 \(row 14\): a row must be JSON/);
    expect(stdout).toMatch(/… and 1 more\n$/);
  });

  it('gallery stops when it is told to, with code 130', async () => {
    const out = join(dir, 'stopped');
    const { code, stderr } = await g2rpo(['data', 'gallery', '--out', out], { signal: AbortSignal.abort() });
    expect(code).toBe(130);
    expect(stderr).toMatch(/^g2rpo: ABORTED/m);
  });
});

describe('the machine', () => {
  it('doctor says what is here and what is not', async () => {
    const { code, stdout } = await g2rpo(['doctor']);
    expect(code).toBe(0);
    for (const topic of [
      'node',
      'addon',
      'kernels',
      'threads',
      'processor',
      'memory',
      'images',
      'cpu',
      'cuda',
      'cuda driver',
      'cuda compiler',
      'neuron',
      'device',
    ])
      expect(stdout).toMatch(new RegExp(`^${topic} +\\S`, 'm'));
    expect(stdout).toContain(process.version);
  });

  it('kernels lists every kernel with its types', async () => {
    const { code, stdout } = await g2rpo(['kernels']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^gaussian_advantage +cpu +f64 +generic/m);
    expect(stdout).toMatch(/^swiglu +cpu +f32 f64 +generic/m);
  });
});
