import { createVideoProcessor, G2rpoError, sampleFrames, timestampsOf, videoSize } from '../../../../lib/index.ts';
import type { Checks, Comparer } from '../checks.ts';
import { framesOfClip, type GoldenClip } from '../clips.ts';
import type { ModelFolder } from '../modelFolder.ts';
import { integers, onlyKeys, sha256 } from '../values.ts';
import { compareRows, processorSettings, type GoldenRows, type PixelSettings } from './pixelRows.ts';

interface Sampling {
  total_frames: number;
  fps: number;
  num_frames: number | null;
  count: number;
  temporal_patches: number;
  [expected: string]: unknown;
}
interface Limits {
  min_area: number;
  max_area: number;
  factor: number;
}
interface Resize {
  frames: number;
  height: number;
  width: number;
  [setting: string]: number | [number, number] | { error: string };
}
interface Clip extends GoldenClip {
  name: string;
  settings: PixelSettings;
  call: { num_frames?: number };
  indices: number[];
  timestamps: string[];
  torchvision: GoldenRows;
  pillow: GoldenRows;
  pillow_vs_torchvision: { max_levels: number; fraction_different: number };
}
interface GoldenVideos {
  sampling: Sampling[];
  resize: Resize[];
  resize_settings: Record<string, Limits>;
  pixels: Clip[];
}

const SAMPLING_KEYS = ['total_frames', 'fps', 'num_frames', 'count', 'temporal_patches', 'indices*', 'timestamps*'];
const CLIP_KEYS = ['name', 'frame_formula', 'frame_args', 'frames', 'height', 'width', 'fps', 'settings', 'call', 'indices', 'timestamps', 'torchvision', 'pillow', 'pillow_vs_torchvision']; // prettier-ignore
/** The rule that the README names: two frames a second, at least 4, at most 768. */
const RULE = { fps: 2, minFrames: 4, maxFrames: 768 };
const TEMPORAL_PATCH = 2;

/** `cases/videos.json`: which frames are taken and when they were, their size, and the rows of clips. */
export async function videos(folder: ModelFolder, file: string, checks: Checks): Promise<void> {
  const golden = folder.json<GoldenVideos>(file);
  const { sampling, resize, resize_settings: settings, pixels } = golden;
  onlyKeys(file, golden, ['sampling', 'resize', 'resize_settings', 'pixels', 'note']);
  for (const each of sampling)
    await checks.run(`sampling of ${each.total_frames} frames at ${each.fps}`, (check) => checkSampling(each, check));
  for (const each of resize)
    await checks.run(`size of ${each.frames} frames of ${each.height}×${each.width}`, (check) => checkSize(each, settings, check)); // prettier-ignore
  for (const clip of pixels) await checks.run(`pixels ${clip.name}`, (check) => checkClip(clip, check));
}

function checkSampling(golden: Sampling, check: Comparer): void {
  onlyKeys('sampling', golden, SAMPLING_KEYS);
  const { total_frames: total, fps, num_frames: numFrames } = golden;
  const indices = sampleFrames({ total, fps, numFrames: numFrames ?? undefined }, RULE);
  const timestamps = timestampsOf(indices, fps, TEMPORAL_PATCH);
  check.same('count', golden.count, indices.length);
  check.same('temporal_patches', golden.temporal_patches, timestamps.length);
  const lists: [string, unknown[], string][] = [
    ['indices', indices, JSON.stringify(indices)],
    ['timestamps', timestamps, timestamps.join('')],
  ];
  for (const [name, ours, text] of lists) {
    const [all, head, tail, hash] = ['', '_head', '_tail', '_sha256'].map((part) => golden[`${name}${part}`]);
    if (all === undefined && hash === undefined) throw new Error(`there are neither ${name} nor ${name}_sha256`);
    if (all !== undefined) check.same(name, all, ours);
    if (head !== undefined) check.same(`${name}_head`, head, ours.slice(0, (head as unknown[]).length));
    if (tail !== undefined) check.same(`${name}_tail`, tail, ours.slice(-(tail as unknown[]).length));
    if (hash !== undefined) check.same(`${name}_sha256`, hash, sha256(text));
  }
}

function checkSize(
  { frames, height, width, ...sizes }: Resize,
  settings: Record<string, Limits>,
  check: Comparer,
): void {
  for (const [name, wanted] of Object.entries(sizes)) {
    const limits = settings[name.replace(/_capped$/, '')];
    if (!limits) throw new Error(`there are no settings ${name}`);
    const { min_area: minPixels, max_area: maxPixels, factor } = limits;
    const limitFrames = name.endsWith('_capped');
    const ours = sizeOrError({ frames, height, width }, { minPixels, maxPixels, factor, temporalPatch: TEMPORAL_PATCH, limitFrames }); // prettier-ignore
    check.same(name, Array.isArray(wanted) ? wanted : 'INVALID_VIDEO', ours);
  }
}

function sizeOrError(...given: Parameters<typeof videoSize>): number[] | string {
  try {
    const { height, width } = videoSize(...given);
    return [height, width];
  } catch (error) {
    if (error instanceof G2rpoError) return error.code;
    throw error;
  }
}

async function checkClip(clip: Clip, check: Comparer): Promise<void> {
  onlyKeys(clip.name, clip, CLIP_KEYS);
  onlyKeys('call', clip.call, ['num_frames']);
  integers('indices', clip.indices);
  const settings = processorSettings(clip.settings);
  const { patch } = settings;
  const processor = createVideoProcessor({
    ...{ ...settings, ...RULE, sizing: 'clip', limitFrames: false, outerPair: false },
  });
  const frames = await framesOfClip(clip, clip.name);
  const { num_frames: numFrames } = clip.call;
  const called = { fps: clip.fps, ...(numFrames === undefined ? {} : { numFrames }) };
  check.same('indices', clip.indices, sampleFrames({ total: frames.length, ...called }, RULE));
  const video = await processor.process({ frames, ...called });
  check.same('timestamps', clip.timestamps, video.timestamps);
  const [t, h, w] = video.gridThw;
  const rows = new Float32Array(t * h * w * 3 * TEMPORAL_PATCH * patch ** 2);
  await processor.writeRows(video, rows);
  const { pillow: exact, torchvision: other, pillow_vs_torchvision: between } = clip;
  compareRows({ rows, gridThw: video.gridThw, patch }, { exact, other, between, exactName: 'pillow' }, true, check);
}
