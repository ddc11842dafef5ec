import { appendFileSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { Policy } from '../../lib/model/qwen3vl/policy.ts';
import { packSlices } from '../../lib/rollout/packBatch.ts';
import { fakePrompt } from '../support/fakePolicy.ts';
import { frameFolder, plainPng } from '../support/frames.ts';
import { g2rpo } from '../support/g2rpo.ts';

let dir: string;
const at = (...path: string[]) => join(dir, ...path);

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'g2rpo-videos-'));
  await writeSmallPolicy(at('policy'), { seed: 3, hidden: 32, visionHidden: 32 });
  for (const [name, from] of [
    ['up', 10],
    ['down', 200],
    ['broken', 90],
  ] as const)
    // prettier-ignore
    renameSync(await frameFolder(Object.fromEntries([0, 1, 2, 3, 4].map((k) => [`${k}.png`, from + 10 * k]))), at(name));
  writeFileSync(at('broken', '3.png'), 'nothing');
  writeFileSync(at('still.png'), await plainPng(50));
  const row = { problem: '<video>Which way?', problem_type: 'math', answer: '7', fps: 2 };
  const rows = [
    { ...row, videos: ['up'] },
    { ...row, videos: ['down'] },
    { ...row, problem: '<image>then<video>', images: ['still.png'], videos: [['up/0.png', 'down/4.png']] },
  ];
  writeFileSync(at('rows.jsonl'), rows.map((each) => JSON.stringify(each)).join('\n'));
  writeFileSync(at('bad.jsonl'), `${readFileSync(at('rows.jsonl'), 'utf8')}\n${JSON.stringify({ ...row, videos: ['broken'] })}`); // prettier-ignore
  writeFileSync(
    at('train.yaml'),
    `
output: run
policy: { path: policy, video: { maxFrames: 4 } }
rewards: { concurrency: 1 }
eval: { samples: 0, before: false }
rollout: { prompts: 2, n: 2, maxTokens: 5, filter: { low: -1, high: 2 } }
data: { train: rows.jsonl, template: plain }
train: { steps: 2, updatePrompts: 2, microBatchTokens: 64, learningRate: 1.0e-3 }
`,
  );
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('training on videos', () => {
  it('samples and learns', { timeout: 60_000 }, async () => {
    const { code, stderr } = await g2rpo(['train', at('train.yaml')]);
    expect(code, stderr).toBe(0);
    const rows = readFileSync(at('run/metrics.jsonl'), 'utf8').trim().split('\n');
    expect(rows).toHaveLength(2);
  });

  it(
    'a broken frame ends the run and names row and file, or is left out and counted',
    { timeout: 60_000 },
    async () => {
      const bad = [`data.train=${at('bad.jsonl')}`, 'rollout.prompts=4', 'train.updatePrompts=4'];
      const ended = await g2rpo(['train', at('train.yaml'), `output=${at('ended')}`, ...bad]);
      expect(ended.code, ended.stderr).toBe(1);
      expect(ended.stderr).toMatch(
        /INVALID_IMAGE .*bad\.jsonl row 4: .*broken\/3\.png: truncated, corrupt or not an image/,
      );
      const went = await g2rpo(['train', at('train.yaml'), `output=${at('went')}`, 'data.onBadRow=skip', ...bad]);
      expect(went.code, went.stderr).toBe(0);
      expect(went.stdout + went.stderr).toMatch(/^.*bad\.jsonl row 4: .*broken\/3\.png/m);
    },
  );

  it('is planned for with their tokens', async () => {
    const { code, stdout, stderr } = await g2rpo(['plan', at('train.yaml')]);
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/visual/);
  });
});

it('what was sampled behind a video is scored alike, alone and in company', async () => {
  const policy = await Policy.load(at('policy'));
  const clip = (name: string) => ({ type: 'video', frames: at(name), fps: 2 }) as const;
  const text = { type: 'text', text: 'Which way?' } as const;
  const still = { type: 'image', image: at('still.png') } as const;
  const prompts = await Promise.all([
    policy.encode([clip('up'), text]),
    policy.encode([still, clip('down'), text, clip('up')]),
    policy.encode([text, still]),
  ]);
  const sampled = await policy.generate(prompts, { n: 2, maxTokens: 6, seed: 4 });
  const slices = prompts.map((encoded, p) => ({
    group: {
      ...{ groupId: p, prompt: fakePrompt('x'), encoded },
      rollouts: sampled[p]!.map(({ tokens }) => ({ tokens })) as never[],
    },
    ...{ first: 2 * p, from: 0, to: 2 },
  }));
  const merge = policy.config.vision.merge;
  const together = await policy.forward(packSlices(slices, merge));
  const alone = await Promise.all(slices.map((slice) => policy.forward(packSlices([slice], merge))));
  const wanted = sampled.flat().flatMap(({ logProbs }) => [...logProbs]);
  const worst = (scores: number[]) => Math.max(...scores.map((score, i) => Math.abs(score - wanted[i]!)));
  expect(worst([...together.logProbs])).toBeLessThan(1e-5); // f32, sums in another order
  expect(worst(alone.flatMap(({ logProbs }) => [...logProbs]))).toBeLessThan(1e-5);
  expect(packSlices(slices, merge).images).toHaveLength(3); // what two prompts show is packed once
  policy.dispose();
});

it('data check counts good rows and names bad ones', async () => {
  appendFileSync(at('bad.jsonl'), `\n${JSON.stringify({ problem: '<video>', videos: ['nowhere'], problem_type: 'math', answer: '1' })}`); // prettier-ignore
  const { code, stdout } = await g2rpo(['data', 'check', at('bad.jsonl'), '--fps', '2']);
  expect(code).toBe(1);
  expect(stdout).toContain('4 good rows, 1 bad');
  expect(stdout).toMatch(/bad\.jsonl:5 \(row 5\): .*nowhere: no such folder of frames/);
});
