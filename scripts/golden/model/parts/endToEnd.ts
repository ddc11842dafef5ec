import { createVideoProcessor, type ContentPart, type Message, type Policy } from '../../../../lib/index.ts';
import { encodePrompt } from '../../../../lib/model/qwen3vl/encodePrompt.ts';
import { packPrompts } from '../../../../lib/model/qwen3vl/policyBatch.ts';
import { boundsFor } from '../bounds.ts';
import type { Checks, Comparer } from '../checks.ts';
import { framesOfClip, type GoldenClip } from '../clips.ts';
import type { ModelFolder } from '../modelFolder.ts';
import type { Grid } from '../sequences.ts';
import { onlyKeys } from '../values.ts';
import { compareLogits } from './sequence.ts';

export interface EndToEnd {
  name: string;
  config: string;
  messages: { role: 'system' | 'user' | 'assistant'; content: string | { type: string; text?: string }[] }[];
  images: string[];
  video: GoldenClip | null;
  input_ids: number[];
  input_ids_without_outer_pair?: number[];
  mm_token_type_ids: number[];
  image_grid_thw: Grid[];
  video_grid_thw: Grid[];
  forward: Record<string, Forward>;
}
interface Forward {
  position_ids: number[][];
  rope_delta: number;
  last_row: { first8: number[]; argmax: number; top2_gap: number; entropy: number };
}

const KEYS = ['name', 'config', 'messages', 'images', 'video', 'input_ids', 'input_ids_without_outer_pair', 'mm_token_type_ids', 'image_grid_thw', 'video_grid_thw', 'forward']; // prettier-ignore

/** How a form of a prompt begins to be called, and whether a pair stands around the whole of a video in it. */
const FORMS = { outer_pair: true, 'without outer pair': false };

/** Messages with image files and clips through template, tokenizer, processors and model. */
export async function checkEndToEnd(folder: ModelFolder, golden: EndToEnd, checks: Checks): Promise<void> {
  await checks.run(`end to end, ${golden.config}: ${golden.name}`, async (check) => {
    onlyKeys(golden.name, golden, KEYS);
    const policy = await folder.policy(golden.config);
    const messages = await withMedia(folder, golden);
    check.same('forms', golden.video === null ? 1 : 2, Object.keys(golden.forward).length);
    for (const [form, forward] of Object.entries(golden.forward)) {
      const outerPair = Object.entries(FORMS).find(([name]) => form.startsWith(name))?.[1];
      if (outerPair === undefined) throw new Error(`there is no form ${form}`);
      await checkForm(policy, messages, { golden, form, forward, outerPair }, check);
    }
  });
}

interface Form {
  golden: EndToEnd;
  form: string;
  forward: Forward;
  outerPair: boolean;
}

async function checkForm(
  policy: Policy,
  messages: Message[],
  { golden, form, forward, outerPair }: Form,
  check: Comparer,
) {
  const { config, tokenizer, template, imageProcessor } = policy;
  const videoProcessor = createVideoProcessor(policy.videoProcessor!.settings, { outerPair });
  const encoded = await encodePrompt({ config, tokenizer, template, imageProcessor, videoProcessor }, messages);
  const { ids, text } = config;
  const types = Array.from(encoded.inputIds, (id) => (id === ids.image ? 1 : id === ids.video ? 2 : 0));
  check.same(
    `${form}: input_ids`,
    outerPair ? golden.input_ids : golden.input_ids_without_outer_pair,
    encoded.inputIds,
  );
  if (outerPair) check.same('mm_token_type_ids', golden.mm_token_type_ids, types);
  const grids = (video: boolean) => encoded.images.filter((each) => 'timestamps' in each === video).map(({ gridThw }) => gridThw); // prettier-ignore
  check.same('image_grid_thw', golden.image_grid_thw, grids(false));
  check.same('video_grid_thw', golden.video_grid_thw, grids(true));
  const rows = types.flatMap((type, row) => (type === 0 ? [] : [row]));
  check.same('visual rows', rows, encoded.visualRows);
  check.same(`${form}: position_ids`, forward.position_ids.flat(), encoded.positionIds);
  check.same(`${form}: rope_delta`, forward.rope_delta, encoded.ropeDelta);
  // another JPEG decoder moves logits, and so do frames that Pillow resized
  const otherPixels = golden.video !== null || golden.images.some((file) => /\.jpe?g$/i.test(file));
  const bounds = boundsFor(text.hidden);
  const near = otherPixels ? { ...bounds, value: { rtol: 0, atol: 5e-2 }, gap: { rtol: 0, atol: 0.1 } } : bounds;
  const batch = packPrompts([encoded], config.vision.merge);
  const logits = await policy.logits(batch, Int32Array.of(encoded.inputIds.length - 1));
  compareLogits([forward.last_row], logits, check, near);
}

/** The messages with the files and the clip of the case in place of its media, in order of appearance. */
async function withMedia(folder: ModelFolder, { name, messages, images, video }: EndToEnd): Promise<Message[]> {
  const files = images.values();
  const clip = video && { frames: await framesOfClip(video, name), fps: video.fps };
  const part = ({ type, text }: { type: string; text?: string }): ContentPart => {
    if (type === 'image') return { type, image: folder.path(files.next().value!) };
    if (type === 'video') return { type, ...clip! };
    return { type: 'text', text: text! };
  };
  return messages.map(({ role, content }) => ({
    role,
    content: typeof content === 'string' ? content : content.map(part),
  }));
}
