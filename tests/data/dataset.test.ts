import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadDataset, loadDemonstrations } from '../../lib/data/dataset.ts';
import { checkAnswer } from '../../lib/rewards/index.ts';
import { G2rpoError } from '../../lib/runtime/errors.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'dataset-'));
  mkdirSync(path.join(folder, 'pictures'));
  for (const name of ['clip', 'empty']) mkdirSync(path.join(folder, name));
  for (const name of ['a.png', 'pictures/b.png', 'clip/2.png', 'clip/10.png', 'film.mp4'])
    writeFileSync(path.join(folder, name), 'x');
});
afterAll(() => rmSync(folder, { recursive: true }));

const row = {
  problem: 'What is 3 + 4?',
  problem_type: 'math',
  task_type: 'math_reasoning',
  answer: '<answer>7</answer>',
};
const lines = (...rows: unknown[]) => rows.map((r) => (typeof r === 'string' ? r : JSON.stringify(r))).join('\n');
function write(name: string, text: string): string {
  writeFileSync(path.join(folder, name), text);
  return path.join(folder, name);
}
function errorOf(run: () => unknown): { code: string; message: string } {
  try {
    run();
  } catch (error) {
    if (error instanceof G2rpoError) return { code: error.code, message: error.message.replaceAll(`${folder}/`, '') };
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('loadDataset', () => {
  it('reads rows with videos: folders or lists of frames, at their own rate or at that of the data set', () => {
    const clip = path.join(folder, 'clip');
    const frames = ['a.png', 'pictures/b.png'];
    const file = write(
      'videos.jsonl',
      lines(
        { ...row, problem: '<video>and<image>', videos: ['clip'], images: ['a.png'], data_type: 'video' },
        { ...row, problem: '<video><video>', videos: ['clip', frames], fps: [3, 4.5] },
        { ...row, fps: 9 },
      ),
    );
    const { prompts } = loadDataset(file, { fps: 2 });
    expect(prompts.map(({ videos }) => videos)).toEqual([
      [{ frames: clip, fps: 2 }],
      [{ frames: clip, fps: 3 }, { frames: frames.map((name) => path.join(folder, name)), fps: 4.5 }], // prettier-ignore
      undefined,
    ]);
    expect(prompts.map(({ extra }) => extra['fps'])).toEqual([undefined, undefined, 9]);
  });

  it('reads a row with everything', () => {
    const file = write(
      'full.jsonl',
      lines({
        problem: '<image>Compare with <image>.',
        images: ['a.png', 'pictures/b.png'],
        problem_type: 'Multiple Choice',
        task_type: 'general_vqa_science_stem',
        options: ['A. yes', 'B. no'],
        answer: ' <answer> B\n</answer> ',
        problem_id: 12,
        data_source: 'AI2D',
        nested: { deep: [1] },
      }),
    );
    expect(loadDataset(file)).toEqual({
      skipped: [],
      prompts: [
        {
          source: { file, row: 1 },
          problem: '<image>Compare with <image>.',
          images: [path.join(folder, 'a.png'), path.join(folder, 'pictures/b.png')],
          problemType: 'multiple choice',
          taskType: 'general_vqa_science_stem',
          options: ['A. yes', 'B. no'],
          answer: 'B',
          extra: { problem_id: 12, data_source: 'AI2D', nested: { deep: [1] } },
        },
      ],
    });
  });

  it('reads lists and lines alike, with a byte order mark, blank lines and Windows line ends', () => {
    const list = write('list.json', `\uFEFF\n[\n${JSON.stringify(row)} ,\n${JSON.stringify(row, null, 2)}\n]\n`);
    const jsonl = write('lines.jsonl', `\uFEFF${lines(row, '', row)}\r\n\r\n`);
    const [a, b] = [loadDataset(list).prompts, loadDataset(jsonl).prompts];
    expect(a.map(({ source, ...rest }) => [source.row, rest])).toEqual(
      b.map(({ source, ...rest }) => [source.row, rest]),
    );
    expect(a).toHaveLength(2);
  });

  it('reads several files and the files of a folder by name', () => {
    mkdirSync(path.join(folder, 'many'), { recursive: true });
    const second = write('many/b.json', `[${JSON.stringify({ ...row, answer: 'b' })}]`);
    const first = write('many/a.jsonl', lines({ ...row, answer: 'a' }));
    write('many/notes.txt', 'not data');
    const answers = (paths: string | string[]) => loadDataset(paths).prompts.map(({ answer }) => answer);
    expect(answers(path.join(folder, 'many'))).toEqual(['a', 'b']);
    expect(answers([second, first])).toEqual(['b', 'a']);
  });

  it('reads numbers as Python writes them, but not inside strings', () => {
    const text = `{"problem": "NaN or -Infinity? \\"NaN\\"", "problem_type": "math", "answer": "NaN", "options": NaN, "images": NaN, "x": [NaN, -Infinity, Infinity]}`;
    const [prompt] = loadDataset(write('nan.jsonl', text)).prompts;
    expect(prompt).toMatchObject({ problem: 'NaN or -Infinity? "NaN"', answer: 'NaN', options: [], images: [] });
    expect(prompt!.extra).toEqual({ x: [NaN, -Infinity, Infinity] });
  });

  it('reads rows that reach over the pieces in which a file is read', () => {
    const long = 'ä€𝄞"[{'.repeat(150_000);
    const rows = ['x', long, 'y', long].map((problem) => ({ ...row, problem }));
    for (const file of [write('long.jsonl', lines(...rows)), write('long.json', JSON.stringify(rows))])
      expect(loadDataset(file).prompts.map(({ problem }) => problem)).toEqual(rows.map(({ problem }) => problem));
  });

  it('takes images from another folder, numbers as answers, unknown task types as other', () => {
    const file = write(
      'loose.jsonl',
      lines({ ...row, problem: '<image>', images: ['b.png'], answer: 7, task_type: 'new' }),
    );
    const [prompt] = loadDataset(file, { imageDir: path.join(folder, 'pictures') }).prompts;
    expect(prompt).toMatchObject({ images: [path.join(folder, 'pictures/b.png')], answer: '7', taskType: 'other' });
  });

  it('leaves answers alone that are no letters, and options that do not begin with one', () => {
    const choice = { ...row, problem_type: 'multiple choice' };
    const rows = [
      { ...choice, options: ['A. x', 'B. y'], answer: 'B' },
      { ...choice, options: ['red', 'blue'], answer: 'C' },
      { ...choice, options: [], answer: 'C' },
      { ...choice, options: ['A. x', 'B. y'], answer: 'y' },
    ];
    expect(loadDataset(write('choices.jsonl', lines(...rows)), { checkAnswer }).prompts).toHaveLength(4);
  });

  it('lets rewards of your own have problem types of your own', () => {
    const file = write('own.jsonl', lines({ ...row, problem_type: 'haiku' }, { ...row, problem_type: null }));
    const { prompts } = loadDataset(file, { problemTypes: 'any', problemType: 'sonnet' });
    expect(prompts.map(({ problemType }) => problemType)).toEqual(['haiku', 'sonnet']);
  });

  it.each<[string, unknown, string, string?]>([
    ['problem', { ...row, problem: 3 }, 'problem must be a non-empty string; got 3'],
    ['empty problem', { ...row, problem: '' }, 'problem must be a non-empty string; got an empty one'],
    ['problem type', { ...row, problem_type: 'maths' }, 'problem_type must be one of multiple choice, math, numerical, regression, OCR, spatial grounding, temporal grounding, spatial-temporal grounding, tracking, segmentation; got "maths", did you mean "math"?'], // prettier-ignore
    ['no problem type', { problem: 'x', answer: 'y' }, 'problem_type must be a string; got nothing'],
    ['answer', { ...row, answer: null }, 'answer must be a string or a number; got null'],
    ['NaN answer', JSON.stringify(row).replace(/"<answer>.*<\/answer>"/, 'NaN'), 'answer must be a string or a number; got NaN'], // prettier-ignore
    ['ground truth', { ...row, problem_type: 'numerical', answer: 'x' }, 'answer: numerical: the ground truth must be a number; got "x"'], // prettier-ignore
    ['options', { ...row, options: 'A' }, 'options must be a list of strings; got a string'],
    ['choice', { ...row, problem_type: 'multiple choice', options: ['A. x', '(B) y'], answer: 'C' }, 'answer must be one of the options A, B; got "C"'], // prettier-ignore
    ['tagged choice', { ...row, problem_type: 'multiple choice', options: ['A. x'], answer: '<answer>B</answer>' }, 'answer must be one of the options A; got "B"'], // prettier-ignore
    ['option', { ...row, options: ['A', 1] }, 'options[1] must be a string; got 1'],
    ['task type', { ...row, task_type: ['ocr'] }, 'task_type must be a string; got a list'],
    ['image', { ...row, problem: '<image>', images: ['none.png'] }, 'no such image: none.png', 'INVALID_IMAGE'],
    ['too few images', { ...row, problem: '<image> <image>', images: ['a.png'] }, 'problem has 2 <image> placeholders, images has 1 path'], // prettier-ignore
    ['too many images', { ...row, images: ['a.png'] }, 'problem has 0 <image> placeholders, images has 1 path'],
    ['too few videos', { ...row, problem: '<video>Who?' }, 'problem has 1 <video> placeholder, videos has 0 paths'],
    ['too many videos', { ...row, videos: ['clip'], fps: 2 }, 'problem has 0 <video> placeholders, videos has 1 path'],
    ['kind of data', { ...row, data_type: 'video' }, 'data_type is "video", but videos is empty'],
    [
      'video',
      { ...row, problem: '<video>', videos: ['none'], fps: 2 },
      'none: no such folder of frames',
      'INVALID_VIDEO',
    ],
    ['empty video', { ...row, problem: '<video>', videos: ['empty'], fps: 2 }, 'empty: a folder of frames must hold pictures (.png, .jpg, …); got none in 0 files', 'INVALID_VIDEO'], // prettier-ignore
    ['file of a video', { ...row, problem: '<video>', videos: ['film.mp4'], fps: 2 }, 'film.mp4: video files are not decoded; extract its frames, as with: ffmpeg -i film.mp4 -vf fps=2 FOLDER/%05d.png', 'INVALID_VIDEO'], // prettier-ignore
    ['frame', { ...row, problem: '<video>', videos: [['a.png', 'c.png']], fps: 2 }, 'no such image: c.png', 'INVALID_IMAGE'], // prettier-ignore
    ['list of videos', { ...row, videos: 'clip' }, 'videos must be a list; got a string'],
    ['entry of videos', { ...row, problem: '<video>', videos: [3], fps: 2 }, 'videos[0] must be a folder of frames or a list of files; got 3'], // prettier-ignore
    ['fps', { ...row, problem: '<video>', videos: ['clip'], fps: 0 }, 'clip: fps must be a positive number; got 0', 'INVALID_VIDEO'], // prettier-ignore
    ['NaN of fps', JSON.stringify({ ...row, problem: '<video>', videos: ['clip'], fps: [777] }).replace('777', 'NaN'), 'clip: fps must be a positive number; got NaN', 'INVALID_VIDEO'], // prettier-ignore
    ['number of fps', { ...row, problem: '<video>', videos: ['clip'], fps: [1, 2] }, 'fps must be one number, or one per video (1); got 2'], // prettier-ignore
    ['missing fps', { ...row, problem: '<video>', videos: ['clip'] }, 'fps must say how many frames of clip make a second; there is neither fps in the row nor data.fps'], // prettier-ignore
    ['list', [row], 'a row must be an object; got a list'],
    ['text', '"x"', 'a row must be an object; got a string'],
  ])('names file, line and row of a bad %s', (_, bad, message, code = 'INVALID_DATA') => {
    const file = write('bad.jsonl', lines(row, '', bad, row));
    expect(errorOf(() => loadDataset(file, { checkAnswer }))).toEqual({
      code,
      message: `bad.jsonl:3 (row 2): ${message}`,
    });
    const list = write('bad.json', `[\n${lines(row)},\n\n${lines(bad)},\n${lines(row)}]`);
    const place = 'bad.json:4 (row 2, index 1)';
    expect(errorOf(() => loadDataset(list, { checkAnswer }))).toEqual({ code, message: `${place}: ${message}` });
  });

  it('names rows that are no JSON', () => {
    const file = write('broken.jsonl', lines(row, '{"problem": ', row));
    expect(errorOf(() => loadDataset(file)).message).toMatch(/^broken\.jsonl:2 \(row 2\): a row must be JSON: /);
    const list = write('broken.json', `[${lines(row)},\n{"problem" 3}]`);
    expect(errorOf(() => loadDataset(list)).message).toMatch(
      /^broken\.json:2 \(row 2, index 1\): a row must be JSON: /,
    );
    expect(errorOf(() => loadDataset(write('comma.json', `[${lines(row)},]`))).message).toMatch(/^comma\.json:1 \(row 2, index 1\): a row must be JSON/); // prettier-ignore
  });

  it('skips bad rows when asked, and reports them', () => {
    const file = write(
      'skip.jsonl',
      lines({ ...row, answer: [] }, row, { ...row, problem: '<image>', images: ['no.png'] }),
    );
    const { prompts, skipped } = loadDataset(file, { onBadRow: 'skip' });
    expect(prompts.map(({ source }) => source)).toEqual([{ file, row: 2 }]);
    expect(skipped).toEqual([
      { file, line: 1, row: 1, reason: `${file}:1 (row 1): answer must be a string or a number; got a list` },
      { file, line: 3, row: 3, reason: `${file}:3 (row 3): no such image: ${folder}/no.png` },
    ]);
  });

  it('reports all bad rows at once, ten of them in words', () => {
    const file = write('manybad.jsonl', lines(row, ...Array<string>(12).fill('3')));
    const { message } = errorOf(() => loadDataset(file));
    expect(message.split('\n')).toHaveLength(11);
    expect(message).toMatch(/^manybad\.jsonl:2 \(row 2\): a row must be an object; got 3\n/);
    expect(message).toMatch(/\n… and 2 more$/);
  });

  it.each<[string, string | undefined, string, string]>([
    ['empty.jsonl', '\n', 'NO_PROMPTS', 'empty.jsonl: a dataset needs at least one row; got none'],
    ['empty.json', '[ ]', 'NO_PROMPTS', 'empty.json: a dataset needs at least one row; got none'],
    ['missing.json', undefined, 'IO', 'missing.json: no such file or folder'],
    [
      'rows.parquet',
      'PAR1',
      'INVALID_DATA',
      'rows.parquet: a dataset must be a .json or .jsonl file or a folder of them',
    ],
    ['open.json', `[${JSON.stringify(row)},\n{"a": "`, 'INVALID_DATA', 'open.json:2 (row 2): the file ends inside this row or before the list is closed'], // prettier-ignore
    ['tail.json', `[${JSON.stringify(row)}]\nx`, 'INVALID_DATA', 'tail.json:2: nothing may follow the end of the list'],
    ['pictures', undefined, 'NO_PROMPTS', 'pictures: the folder has no .json or .jsonl file'],
  ])('refuses %s', (name, text, code, message) => {
    const file = text === undefined ? path.join(folder, name) : write(name, text);
    expect(errorOf(() => loadDataset(file))).toEqual({ code, message });
  });

  it('refuses a dataset whose rows were all skipped', () => {
    const file = write('allbad.jsonl', lines('1', '2'));
    expect(errorOf(() => loadDataset(file, { onBadRow: 'skip' }))).toEqual({
      code: 'NO_PROMPTS',
      message: expect.stringMatching(
        /^allbad\.jsonl: a dataset needs at least one row; got none; 2 were skipped:\n {2}allbad\.jsonl:1 \(row 1/,
      ) as string,
    });
  });
});

describe('loadDemonstrations', () => {
  it('reads demonstrations and labels, with or without an answer', () => {
    const file = write(
      'sft.jsonl',
      lines({ ...row, demonstration: 'It is 7.' }, { ...row, answer: null, labels: ['a', null], kept: 1 }),
    );
    const { prompts } = loadDemonstrations(file);
    expect(prompts[0]).toMatchObject({ demonstration: 'It is 7.', answer: '7', extra: {} });
    expect(prompts[0]).not.toHaveProperty('labels');
    expect(prompts[1]).toMatchObject({ labels: ['a', null], answer: '', extra: { kept: 1 } });
  });

  it.each<[object, string]>([
    [{}, 'a supervised row needs demonstration or labels; got neither'],
    [{ demonstration: 3 }, 'demonstration must be a string; got 3'],
    [{ labels: 'a' }, 'labels must be a list of strings and nulls; got a string'],
    [{ labels: ['a', 3] }, 'labels[1] must be a string or null; got 3'],
  ])('names file, line and row of %j', (fields, message) => {
    const file = write('badsft.jsonl', lines({ ...row, demonstration: 'x' }, { ...row, ...fields }));
    expect(errorOf(() => loadDemonstrations(file)).message).toBe(`badsft.jsonl:2 (row 2): ${message}`);
  });
});
