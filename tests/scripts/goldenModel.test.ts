import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { countsOf, walkModel, type ModelReport } from '../../scripts/golden/model/walk.ts';
import { root } from '../structure/files.ts';
import { doctored, namesOn, numbersIn } from '../support/doctored.ts';
import { goldenJson, goldenPath } from '../support/goldenModel.ts';

type Json = Record<string, unknown>;
let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'g2rpo-golden-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

let folders = 0;
/** A model folder with these files, and with the checkpoints and pictures that travel with the repository. */
function folderOf(files: Record<string, unknown>): string {
  const folder = join(dir, String(folders++));
  mkdirSync(join(folder, 'cases'), { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content));
  }
  for (const name of ['checkpoints', 'images']) if (!(name in files)) symlinkSync(goldenPath(name), join(folder, name));
  return folder;
}
const walk = (files: Record<string, unknown>): Promise<ModelReport[]> => walkModel(folderOf(files), () => undefined);
const failuresOf = ({ checks }: ModelReport) => checks.flatMap((check) => check.failures.map((f) => `${check.name}: ${f}`)); // prettier-ignore
const reportOf = (reports: ModelReport[], file: string) => reports.find((report) => report.file === file)!;

/** What the reference says of its own noise, and what no case depends on. */
const YARDSTICKS = /noise_|bf16_reference|max_abs_logp_diff|min_router_gap|packed\.check/;

describe('a changed number of a model case fails', () => {
  it('under every key, at every temperature, of every objective', { timeout: 240_000 }, async () => {
    const files: Record<string, unknown> = {};
    const changedAt = new Map<string, string>();
    for (const name of ['one_token', 'image_one', 'video_ts', 'generate_reppen', 'mixed', 'batch4']) {
      const golden = goldenJson<Json>(`cases/nano/${name}.json`);
      for (const path of numbersIn(golden)) {
        const at = path.indexOf('grads'); // tensors are alike
        const names = namesOn(at < 0 ? path : [...path.slice(0, at + 1), '*', ...path.slice(at + 2)]);
        if (YARDSTICKS.test(names) || [...changedAt.values()].includes(names)) continue;
        const file = `changed${changedAt.size}`;
        changedAt.set(`cases/nano/${file}.json`, names);
        files[`cases/nano/${file}.json`] = { ...(doctored(golden, path) as Json), case: file };
      }
    }
    const reports = await walk(files);
    const unseen = [...changedAt].filter(([file]) => failuresOf(reportOf(reports, file)).length === 0);
    expect(unseen.map(([, names]) => names)).toEqual([]);
    for (const names of [
      'sequences.targets.logp_t0.7',
      'objectives.mean_band.grads.*.val',
      'packed.cu_seqlens',
      'steps.first4',
      'sequences.vision.video.deepstack.row_l2',
    ])
      // prettier-ignore
      expect([...changedAt.values()]).toContain(names);
  });

  it('of any tensor, which is named', async () => {
    const golden = goldenJson<Json & { objectives: Record<string, { grads: Json }> }>('cases/nano/one_target.json');
    let changed: Json = golden;
    const tensors = Object.keys(golden.objectives['mean_band']!.grads);
    for (const tensor of tensors)
      for (const at of [['l2'], ['val', 2]])
        changed = doctored(changed, ['objectives', 'mean_band', 'grads', tensor, ...at]) as Json;
    const [failures] = (await walk({ 'cases/nano/one_target.json': changed })).slice(-1).map(failuresOf);
    for (const tensor of tensors)
      for (const at of ['', '.val[2]']) expect(failures).toContainEqual(expect.stringContaining(`grads.${tensor}${at}: wanted`)); // prettier-ignore
    expect(failures).toHaveLength(2 * tensors.length);
  });
});

/** Fields of the other files that are given, not expected. */
const GIVEN =
  /^settings|^images\.args|^smart_resize\.(height|width)|messages|kwargs|frame_args|^sampling\.(fps|total_frames)|^resize\.(frames|height|width)|^resize_settings|^pixels\.(settings|fps|height|width)|video\.fps/;

describe('a changed number of another part fails', () => {
  type Lists = Record<'images' | 'errors' | 'smart_resize' | 'strings' | 'decode_only' | 'conversations' | 'end_to_end' | 'cases' | 'sampling' | 'resize' | 'pixels', Json[]>; // prettier-ignore
  const shortened: [string, (golden: Json & Lists) => Json][] = [
    ['positions', (golden) => ({ ...golden, cases: golden.cases.slice(0, 2) })],
    [
      'images',
      (golden) => ({
        ...golden,
        images: golden.images.filter(({ name }) =>
          ['grey_33x140.png', 'formula_noise_72x150'].includes(name as string),
        ),
        errors: golden.errors.slice(0, 1),
        smart_resize: golden.smart_resize.slice(0, 2),
      }),
    ],
    [
      'videos',
      (golden) => ({
        ...golden,
        sampling: [golden.sampling[2]!, golden.sampling[17]!],
        resize: golden.resize.slice(0, 1),
        pixels: golden.pixels.filter(({ name }) => name === 'noise_small'),
      }),
    ],
    ['tokenizer', (golden) => ({ ...golden, strings: golden.strings.slice(0, 3), decode_only: golden.decode_only.slice(0, 2) })], // prettier-ignore
    [
      'chat',
      (golden) => ({
        ...golden,
        conversations: golden.conversations.slice(0, 1),
        end_to_end: golden.end_to_end.filter(({ name, config }) => name === 'one_image' && config === 'nano'),
      }),
    ],
  ];
  it.each(shortened)('%s.json', { timeout: 120_000 }, async (name, shorten) => {
    const file = `cases/${name}.json`;
    const golden = shorten(goldenJson(file));
    expect(failuresOf(reportOf(await walk({ [file]: golden }), file))).toEqual([]);
    const seen = new Set<string>();
    for (const path of numbersIn(golden)) {
      const names = namesOn(path);
      if (seen.has(names) || GIVEN.test(names)) continue;
      seen.add(names);
      const report = reportOf(await walk({ [file]: doctored(golden, path) }), file);
      expect(failuresOf(report).length, `${names} at ${path.join('.')}`).toBeGreaterThan(0);
    }
    expect(seen.size).toBeGreaterThan(2);
  });

  it.each<[string, string, (string | number)[]]>([
    ['the hash of a file', 'hashes.json', ['nano', 'files', 'model.safetensors']],
    ['the hash of a tensor', 'hashes.json', ['nano', 'tensors', 'model.visual.pos_embed.weight']],
    ['the hash of pixel rows', 'cases/images.json', ['images', 0, 'expected', 'quick', 'pil', 'sha256_f32']],
    ['the hash of rows of a video', 'cases/videos.json', ['pixels', 0, 'pillow', 'sha256_f32']],
    ['the hash of times', 'cases/videos.json', ['sampling', 17, 'timestamps_sha256']],
    ['the hash of a picture', 'cases/images.json', ['images', 0, 'decoded', 'sha256_rgb']],
    ['a conversation', 'cases/chat.json', ['conversations', 0, 'rendered']],
    ['a template', 'cases/chat.json', ['template']],
    ['a decoded text', 'cases/tokenizer.json', ['decode_only', 0, 'decoded']],
    ['the checkpoint of a case', 'cases/nano/one_token.json', ['config']],
  ])('and so does %s', async (_, file, path) => {
    const reports = await walk({ 'cases/positions.json': goldenJson('cases/positions.json'), [file]: doctored(goldenJson(file), path) }); // prettier-ignore
    expect(failuresOf(reportOf(reports, file)).length).toBeGreaterThan(0);
  });
});

it('a file that is not the one of SHA256SUMS fails, whatever changed in it', async () => {
  const file = 'cases/nano/one_token.json';
  const reports = await walk({ SHA256SUMS: `${'0'.repeat(64)}  ${file}\n`, [file]: goldenJson(file) });
  expect(failuresOf(reportOf(reports, 'SHA256SUMS')).join()).toContain(`sums: ${file}: wanted "000`);
});

describe('what is no case, or none that is known', () => {
  const good = goldenJson<Json>('cases/nano/one_token.json');
  it.each<[string, string, unknown]>([
    ['no kind of case is called so', 'cases/audio.json', {}],
    ['JSON', 'cases/nano/one_token.json', '{'],
    ['no kind of case has a key speech', 'cases/nano/one_token.json', { ...good, speech: 1 }],
    ['there are neither sequences nor a prompt', 'cases/nano/one_token.json', { ...good, sequences: [] }],
    ['no objective is called sharpness; there are token_hinge, mean_band', 'cases/nano/one_token.json', { ...good, objectives: { sharpness: {} } }], // prettier-ignore
    ['ENOENT', 'cases/nowhere/one_token.json', { ...good, config: 'nowhere' }],
    ['it holds no case', 'cases/positions.json', { special: {}, cases: [] }],
  ])('%s', async (message, file, content) => {
    const report = reportOf(await walk({ [file]: content }), file);
    expect(failuresOf(report).join('\n')).toContain(message);
  });

  it('what the package cannot do yet is not run, and is no failure', async () => {
    const hashes = { 'nano-normal': { command: '--preset nano --weights normal --seed 11', files: {} } };
    const reports = await walk({ 'hashes.json': hashes, 'cases/nano/one_token.json': good });
    const { checks } = reportOf(reports, 'hashes.json');
    expect(countsOf(checks)).toMatchObject({ passed: 0, failed: 0, missing: 1, compared: 0 });
    expect(checks[0]!.missing).toBe("weights by --weights normal: they are drawn by numpy's generator");
  });
});

describe('the command', () => {
  const jiti = join(root, 'node_modules/jiti/lib/jiti-cli.mjs');
  const golden = (...args: string[]) =>
    spawnSync(process.execPath, [jiti, join(root, 'scripts/golden/run.ts'), ...args], { encoding: 'utf8' });
  const case_ = goldenJson<Json>('cases/nano/one_target.json');

  it('ends with 0 when all pass, with a line per file and the worst errors', () => {
    const { status, stdout, stderr } = golden(folderOf({ 'cases/nano/one_target.json': case_ }));
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^cases\/nano\/one_target\.json {14}8 pass; 1382 values, worst 0\.\d+ tolerances at /m);
    expect(stdout).toMatch(/^worst of gradients: 0\.\d+ tolerances at /m);
    expect(status).toBe(0);
  });

  it('ends with 1 when one fails, and says what was wanted and what came', () => {
    const path = ['objectives', 'token_hinge', 'loss'];
    const { status, stdout } = golden(folderOf({ 'cases/nano/one_target.json': doctored(case_, path) }));
    expect(stdout).toMatch(/FAIL {2}token_hinge: loss: loss: wanted [\d.]+; came [\d.]+, [\de.+]+ tolerances off/);
    expect(status).toBe(1);
  });

  it('ends with 2 when there is nothing to run', () => {
    const message = 'has checkpoints/, but no JSON file below cases/';
    expect(golden(folderOf({}))).toMatchObject({ status: 2, stderr: expect.stringContaining(message) });
  });
});
