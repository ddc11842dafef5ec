import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeGallery, writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { g2rpo } from '../support/g2rpo.ts';

let dir: string;
const at = (...path: string[]) => join(dir, ...path);
const train = (...more: string[]) => g2rpo(['train', at('train.yaml'), ...more]);
const sft = (...more: string[]) => g2rpo(['sft', at('sft.yaml'), ...more]);

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'g2rpo-damaged-'));
  const demonstrations = { demonstrations: { scenes: 6 } };
  await writeGallery({ out: at('gallery'), train: 6, validation: 6, demonstrations, seed: 1 });
  await writeSmallPolicy(at('policy'), { seed: 3, hidden: 32, visionHidden: 32 });
  const common = `
output: run
policy: { path: policy }
rewards: { concurrency: 1 }
eval: { samples: 0, before: false }
`;
  writeFileSync(
    at('train.yaml'),
    `${common}
rollout: { prompts: 1, n: 2, maxTokens: 5, filter: { low: -1, high: 2 } }
data: { train: gallery/train.jsonl, template: plain }
train: { steps: 2, updatePrompts: 1, saveEverySteps: 1 }
`,
  );
  writeFileSync(
    at('sft.yaml'),
    `${common}
rollout: { maxTokens: 5 }
data: { template: plain }
phases: [{ name: one, demonstrations: [{ files: gallery/demonstrations.jsonl }], steps: 1, batchRows: 64 }]
`,
  );
  const { code, stderr } = await train();
  expect(code, stderr).toBe(0);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('a damaged checkpoint is passed over with its reason, and the one before it goes on', () => {
  const damages: [string, (checkpoint: string) => void, RegExp][] = [
    [
      'weights cut short',
      (c) => truncateSync(join(c, 'policy/model.safetensors'), 999),
      /model\.safetensors is not as/,
    ],
    ['no manifest', (c) => rmSync(join(c, 'manifest.json')), /no readable manifest/],
    [
      'a manifest that vouches for nothing',
      (c) => {
        writeFileSync(join(c, 'manifest.json'), '{ "version": 1, "files": {} }');
        rmSync(join(c, 'state.json'));
      },
      /state\.json must say step and updates/,
    ],
  ];
  it.each(damages)('%s', async (_, damage, reason) => {
    rmSync(at('damaged'), { recursive: true, force: true });
    cpSync(at('run'), at('damaged'), { recursive: true });
    damage(at('damaged/checkpoints/step-000002'));
    const { code, stdout, stderr } = await train(`output=${at('damaged')}`);
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(reason);
    expect(stdout).toMatch(/resuming at step 1 /);
    const policy = 'policy/model.safetensors';
    expect(readFileSync(at('damaged', policy)).equals(readFileSync(at('run', policy)))).toBe(true);
  });

  it('a file where the folder should be is named', async () => {
    mkdirSync(at('file'));
    writeFileSync(at('file/checkpoints'), '');
    const { code, stderr } = await train(`output=${at('file')}`);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^g2rpo: IO .*file\/checkpoints: cannot look for checkpoints/m);
  });
});

describe('a bad row is named', () => {
  const badRows = (from: string, to: string, change: (row: Record<string, unknown>) => void) => {
    const lines = readFileSync(at('gallery', from), 'utf8').trimEnd().split('\n');
    const row = JSON.parse(lines[2]!) as Record<string, unknown>;
    change(row);
    lines[2] = JSON.stringify(row);
    writeFileSync(at('gallery', to), lines.join('\n'));
    return at('gallery', to);
  };
  const cutPicture = (row: Record<string, unknown>) => {
    const images = row['images'] as string[];
    const bytes = readFileSync(at('gallery', images[0]!));
    writeFileSync(at('gallery/cut.png'), bytes.subarray(0, bytes.length / 2));
    row['images'] = ['cut.png'];
  };

  it('when a picture for validation is cut short', async () => {
    const file = badRows('validation.jsonl', 'cutValidation.jsonl', cutPicture);
    const { code, stderr } = await train(`output=${at('a')}`, `data.validation=${file}`, 'eval.before=true');
    expect(code).toBe(1);
    expect(stderr).toMatch(/INVALID_IMAGE .*cutValidation\.jsonl row 3: .*cut\.png: truncated/);
  });

  it('and left out of the validation where that was asked for', async () => {
    const file = badRows('validation.jsonl', 'skippedValidation.jsonl', cutPicture);
    const skip = [`data.validation=${file}`, 'data.onBadRow=skip', 'eval.before=true'];
    const { code, stdout, stderr } = await train(`output=${at('d')}`, ...skip);
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/left out: .*skippedValidation\.jsonl row 3: .*cut\.png: truncated/);
    expect(stdout).toMatch(/^all tasks +5 /m);
    const rows = readFileSync(at('d/metrics.jsonl'), 'utf8').trimEnd().split('\n');
    expect(rows.filter((row) => row.includes('"val/prompts_skipped":1'))).toHaveLength(2);
    const again = await g2rpo(['eval', at('train.yaml'), ...skip]);
    expect(again.code, again.stderr).toBe(0);
    expect(again.stdout).toMatch(/^all tasks +5 /m);
    expect(again.stderr).toMatch(/left out: .*skippedValidation\.jsonl row 3: /);
  });

  it('when a picture of a demonstration is cut short', async () => {
    const file = badRows('demonstrations.jsonl', 'cutDemonstrations.jsonl', cutPicture);
    const { code, stderr } = await sft(`output=${at('b')}`, `phases.0.demonstrations.0.files=${file}`);
    expect(code).toBe(1);
    expect(stderr).toMatch(/INVALID_IMAGE .*cutDemonstrations\.jsonl row 3: .*cut\.png: truncated/);
  });

  it('when a demonstration whose picture is cut short is skipped: others take its place, and it is counted', async () => {
    const file = badRows('demonstrations.jsonl', 'skippedDemonstrations.jsonl', cutPicture);
    const raw = [`output=${at('e')}`, `phases.0.demonstrations.0.files=${file}`, 'data.onBadRow=skip'];
    const { code, stdout, stderr } = await sft(...raw, 'phases.0.steps=3');
    expect(code, stderr).toBe(0);
    expect(stdout.match(/left out: .*skippedDemonstrations\.jsonl row 3: .*cut\.png: truncated/g)).toHaveLength(1);
    const counts = readFileSync(at('e', 'metrics.jsonl'), 'utf8').match(/"sft\/rows_skipped":\d+/g);
    expect(counts).toHaveLength(3);
    expect(counts!.every((count) => count !== '"sft/rows_skipped":0')).toBe(true); // an update goes through all rows
    // stopped behind the first update, it goes on to the same weights
    const half = [...raw, `output=${at('f')}`, 'train.saveEverySteps=1'];
    await sft(...half, 'phases.0.steps=3');
    const weights = (run: string) => readFileSync(at(run, 'policy', 'model.safetensors'));
    rmSync(at('f', 'policy'), { recursive: true });
    for (const later of ['step-000002', 'step-000003']) rmSync(at('f', 'checkpoints', later), { recursive: true });
    expect((await sft(...half, 'phases.0.steps=3')).code).toBe(0);
    expect(weights('f').equals(weights('e'))).toBe(true);
  });

  it('when no demonstration can be read', async () => {
    const text = readFileSync(at('gallery', 'demonstrations.jsonl'), 'utf8').trim().split('\n');
    const rows = text.map((line) => {
      const row = JSON.parse(line) as Record<string, unknown>;
      cutPicture(row);
      return JSON.stringify(row);
    });
    const file = at('gallery', 'unreadable.jsonl');
    writeFileSync(file, rows.join('\n'));
    const raw = [`output=${at('g')}`, `phases.0.demonstrations.0.files=${file}`, 'data.onBadRow=skip'];
    const { code, stderr } = await sft(...raw);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /NO_PROMPTS {2}sft: demonstrations that can be read were wanted; none of the last \d+ could be; the first: .*cut\.png/,
    );
  });

  it('when a demonstration is left out', async () => {
    const file = badRows('demonstrations.jsonl', 'badDemonstrations.jsonl', (row) => (row['problem'] = ''));
    const raw = [`output=${at('c')}`, `phases.0.demonstrations.0.files=${file}`];
    expect((await sft(...raw)).stderr).toMatch(/INVALID_DATA .*badDemonstrations\.jsonl:3 \(row 3\)/);
    const { code, stdout, stderr } = await sft(...raw, 'data.onBadRow=skip');
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/left out: .*badDemonstrations\.jsonl:3 \(row 3\)/);
    expect(readdirSync(at('c'))).toContain('policy');
  });
});
