import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadDataset, loadDemonstrations } from '../../../lib/data/dataset.ts';
import { labelWords } from '../../../lib/data/gallery/labels.ts';
import type { GalleryOptions } from '../../../lib/data/gallery/options.ts';
import type { GalleryRow } from '../../../lib/data/gallery/rows.ts';
import { writeGallery } from '../../../lib/data/gallery/writeGallery.ts';
import { checkAnswer } from '../../../lib/rewards/index.ts';

const options: Omit<GalleryOptions, 'out'> = {
  seed: 3,
  train: 60,
  validation: { rows: 30, levels: { 1: 1, 3: 1 } },
  demonstrations: {
    demonstrations: { scenes: 120, naming: 2, careful: 0.5 },
    habits: { scenes: 240, naming: 0, careful: 0.3, habits: 0.65, faults: 0.15 },
  },
};

let home: string;
let first: string;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'gallery-'));
  first = join(home, 'first');
  await writeGallery({ ...options, out: first });
});
afterAll(() => rm(home, { recursive: true }));

async function rowsOf(folder: string, name: string): Promise<GalleryRow[]> {
  const text = await readFile(join(folder, `${name}.jsonl`), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as GalleryRow);
}

/** One digest per file below the folder. */
async function digests(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const hash = async (path: string): Promise<[string, string]> => [
    path.slice(folder.length),
    createHash('sha256')
      .update(await readFile(path))
      .digest('hex'),
  ];
  return Object.fromEntries(await Promise.all(paths.sort().map(hash)));
}

describe('a gallery', () => {
  it('has the same bytes each time', async () => {
    await writeGallery({ ...options, out: join(home, 'second') });
    expect(await digests(join(home, 'second'))).toEqual(await digests(first));
  });

  it('begins with the smaller one of the same seed, and differs under another', async () => {
    const read = (name: string): Promise<string> => readFile(join(home, name, 'train.jsonl'), 'utf8');
    await writeGallery({ out: join(home, 'small'), seed: 3, train: 20, validation: 0 });
    await writeGallery({ out: join(home, 'other'), seed: 4, train: 20, validation: 0 });
    expect((await read('first')).startsWith(await read('small'))).toBe(true);
    expect(await read('other')).not.toBe(await read('small'));
  });

  it('shares no picture between its parts', async () => {
    const contents = async (...names: string[]): Promise<string[]> => {
      const rows = await Promise.all(names.map((name) => rowsOf(first, name)));
      return [...new Set(rows.flat().map((row) => row.scene))];
    };
    const parts = await Promise.all([contents('train'), contents('validation'), contents('demonstrations', 'habits')]);
    expect(parts.map((part) => part.length)).toEqual([60, 30, 360]); // nothing twice within a part, here
    expect(new Set(parts.flat()).size).toBe(450);
  });

  it('has rows of the data format, tasks in turn', async () => {
    const rows = await rowsOf(first, 'train');
    expect(rows).toHaveLength(60);
    expect(new Set(rows.slice(0, 6).map((row) => row.task_type)).size).toBe(6);
    expect(rows.map((row) => row.problem_id)).toEqual(rows.map((_, i) => i));
    for (const row of rows) {
      expect(row.problem).toBe(`<image>${row.problem_reserved_text}`);
      expect(row.answer).toMatch(/^<answer>.+<\/answer>$/);
      expect(row.options.length > 0).toBe(row.problem_type === 'multiple choice');
      expect(row.data_type).toBe('image');
      expect(row).not.toHaveProperty('demonstration');
    }
    expect(new Set((await rowsOf(first, 'validation')).map((row) => row.level))).toEqual(new Set([1, 3]));
  });

  it('is read by the loaders, every answer fit to be scored', () => {
    for (const [name, rows] of [
      ['train', 60],
      ['validation', 30],
    ] as const)
      expect(loadDataset(join(first, `${name}.jsonl`), { checkAnswer }).prompts).toHaveLength(rows);
    for (const [name, rows] of [
      ['demonstrations', 360],
      ['habits', 240],
    ] as const)
      expect(loadDemonstrations(join(first, `${name}.jsonl`)).prompts).toHaveLength(rows);
  });

  it('has PNG pictures of the asked size', async () => {
    const [row] = await rowsOf(first, 'habits');
    const { format, width, height, channels } = await sharp(join(first, row!.images[0]!)).metadata();
    expect({ format, width, height, channels }).toEqual({ format: 'png', width: 64, height: 64, channels: 3 });
  });

  it('has pictures and labels that grow with the image size', async () => {
    const out = join(home, 'large');
    const demonstrations = { big: { scenes: 6, naming: 9 } };
    await writeGallery({ out, train: 0, validation: 0, imageSize: 96, demonstrations, imageLast: true });
    const rows = await rowsOf(out, 'big');
    const { width } = await sharp(join(out, rows[0]!.images[0]!)).metadata();
    expect(width).toBe(96);
    expect(rows.filter((row) => row.labels).length).toBe(6 + 3 + 4 + 3 + 6 + 6); // each question of each task
    for (const { labels } of rows) if (labels) expect(labels).toHaveLength(36);
    expect(
      rows
        .filter((row) => row.demonstration)
        .every((row) => row.problem.endsWith('? <image>') || row.problem.endsWith('. <image>')),
    ).toBe(true);
  });
});

describe('demonstrations', () => {
  const form = /^<think>(.*)<\/think><answer>(.*)<\/answer>$/;

  it('are right, half of them with a thought, beside the naming rows', async () => {
    const rows = await rowsOf(first, 'demonstrations');
    const [naming, answers] = [rows.filter((row) => row.labels), rows.filter((row) => row.demonstration !== undefined)];
    expect([naming.length, answers.length]).toEqual([240, 120]);
    const thoughts = answers.map((row) => {
      const [, thought, answer] = form.exec(row.demonstration!)!;
      expect(`<answer>${answer}</answer>`).toBe(row.answer);
      return thought!;
    });
    const thoughtless = thoughts.filter((thought) => thought === '').length / 120;
    expect(Math.abs(thoughtless - 0.5)).toBeLessThan(0.15); // three standard errors
    for (const row of naming) {
      expect(row.problem).toMatch(/^[a-z]+ <image>$/);
      expect(row).not.toHaveProperty('answer');
      expect(row.labels).toHaveLength(16);
      for (const word of row.labels!) if (word !== null) expect(labelWords).toContain(word);
    }
  });

  it('have habits and faults where these are asked for', async () => {
    const rows = await rowsOf(first, 'habits');
    const formed = rows.filter((row) => form.test(row.demonstration!));
    const wrong = formed.filter((row) => !row.demonstration!.endsWith(row.answer!));
    expect(rows).toHaveLength(240);
    expect(1 - formed.length / 240).toBeGreaterThan(0.08); // 0.15 planted: three standard errors are 0.07
    expect(1 - formed.length / 240).toBeLessThan(0.22);
    expect(wrong.length / formed.length).toBeGreaterThan(0.35); // 0.455 planted
    expect(wrong.length / formed.length).toBeLessThan(0.56);
    expect(wrong.every((row) => row.demonstration!.startsWith('<think></think>'))).toBe(true);
  });
});

describe('writeGallery', () => {
  it('leaves a finished gallery alone', async () => {
    const before = await digests(first);
    let calls = 0;
    const report = await writeGallery({ ...options, out: first, onProgress: () => calls++ });
    expect(calls).toBe(0);
    expect(report.images).toBe(60 + 30 + 120 + 240);
    expect(await digests(first)).toEqual(before);
  });

  it('refuses a folder with something else in it', async () => {
    const busy = join(home, 'busy');
    await mkdir(busy);
    await writeFile(join(busy, 'thesis.txt'), 'years of work');
    await expect(writeGallery({ out: busy })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(writeGallery({ ...options, seed: 9, out: first })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(await readdir(busy)).toEqual(['thesis.txt']);
    for (const text of ['{', 'null', '{}']) {
      await writeFile(join(busy, 'gallery.json'), text);
      await expect(writeGallery({ out: busy })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    await expect(writeGallery({ out: join(busy, 'thesis.txt') })).rejects.toMatchObject({ code: 'IO' });
  });

  it('says when a finished gallery was damaged', async () => {
    const out = join(home, 'damaged');
    const small = { out, train: 6, validation: 0 };
    await writeGallery(small);
    await rm(join(out, 'images/train/000/000003.png'));
    await expect(writeGallery(small)).rejects.toMatchObject({ code: 'INVALID_DATA', details: { got: 5 } });
    await writeFile(join(out, 'train.jsonl'), '');
    await expect(writeGallery(small)).rejects.toMatchObject({ code: 'INVALID_DATA', details: { file: 'train.jsonl' } });
  });

  it('stops when asked, and leaves nothing behind', async () => {
    const stop = new AbortController();
    const seen: number[] = [];
    const onProgress = ({ done }: { done: number }): void => {
      seen.push(done);
      if (done > 0) stop.abort();
    };
    const stopped = writeGallery({ out: join(home, 'stopped'), train: 600, onProgress, signal: stop.signal });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    expect(seen).toEqual([0, 256]);
    expect((await readdir(home)).filter((name) => name.startsWith('stopped'))).toEqual([]);
  });

  it('names every wrong option at once', async () => {
    const wrong = {
      out: '',
      seed: 0.5,
      imageSize: 60,
      tasks: ['maths'],
      trian: 3,
      train: { rows: -1, levels: { 4: 1 } },
    };
    await expect(writeGallery(wrong as unknown as GalleryOptions)).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      details: {
        problems: [
          'gallery.trian is not an option; did you mean train?',
          'gallery.out must be a folder; got ""',
          'gallery.seed must be a whole number; got 0.5',
          'gallery.tasks must be some of vqa, math, chart, ocr, spatial, grounding, none twice; got ["maths"]',
          'gallery.imageSize must be a multiple of cellSize (16) from 16 to 2048; got 60',
          'gallery.train.rows must be a whole number ≥ 0; got -1',
          expect.stringContaining('gallery.train.levels.4 is not an option'),
        ],
      },
    });
  });
});
