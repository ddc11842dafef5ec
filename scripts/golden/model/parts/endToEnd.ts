import type { ContentPart, Message } from '../../../../lib/index.ts';
import { boundsFor } from '../bounds.ts';
import { MissingCapability, type Checks } from '../checks.ts';
import type { ModelFolder } from '../modelFolder.ts';
import type { Grid } from '../sequences.ts';
import { onlyKeys } from '../values.ts';
import { compareLogits } from './sequence.ts';

export interface EndToEnd {
  name: string;
  config: string;
  messages: { role: 'system' | 'user' | 'assistant'; content: string | { type: string; text?: string }[] }[];
  images: string[];
  video: object | null;
  input_ids: number[];
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

/** Messages with image files through template, tokenizer, processor and model. */
export async function checkEndToEnd(folder: ModelFolder, golden: EndToEnd, checks: Checks): Promise<void> {
  await checks.run(`end to end, ${golden.config}: ${golden.name}`, async (check) => {
    onlyKeys(golden.name, golden, KEYS);
    if (golden.video !== null) throw new MissingCapability('prompts with a video: there is no video processor');
    const policy = await folder.policy(golden.config);
    const { ids, text } = policy.config;
    const encoded = await policy.encodeMessages(withFiles(folder, golden));
    const types = Array.from(encoded.inputIds, (id) => (id === ids.image ? 1 : id === ids.video ? 2 : 0));
    check.same('input_ids', golden.input_ids, encoded.inputIds);
    check.same('mm_token_type_ids', golden.mm_token_type_ids, types);
    check.same('image_grid_thw', golden.image_grid_thw, encoded.images.map((image) => image.gridThw)); // prettier-ignore
    check.same('video_grid_thw', golden.video_grid_thw, []);
    const rows = types.flatMap((type, row) => (type === 0 ? [] : [row]));
    check.same('visual rows', rows, encoded.visualRows);
    // another JPEG decoder moves logits
    const lossy = golden.images.some((file) => /\.jpe?g$/i.test(file));
    const bounds = boundsFor(text.hidden);
    const near = lossy ? { ...bounds, value: { rtol: 0, atol: 5e-2 }, gap: { rtol: 0, atol: 0.1 } } : bounds;
    for (const [form, forward] of Object.entries(golden.forward)) {
      check.same(`${form}: position_ids`, forward.position_ids.flat(), encoded.positionIds);
      check.same(`${form}: rope_delta`, forward.rope_delta, encoded.ropeDelta);
      const { inputIds, positionIds, images, visualRows } = encoded;
      const batch = {
        ...{ inputIds, positionIds, images, visualRows, visualSource: Int32Array.from(visualRows.keys()) },
        ...{ segmentStarts: Int32Array.of(0, inputIds.length), segmentPrefix: Int32Array.of(-1) },
        ...{ targetRows: new Int32Array(), targetIds: new Int32Array() },
      };
      const logits = await policy.logits(batch, Int32Array.of(inputIds.length - 1));
      compareLogits([forward.last_row], logits, check, near);
    }
  });
}

/** The messages with the files of the case in place of its pictures, in order of appearance. */
function withFiles(folder: ModelFolder, { messages, images }: EndToEnd): Message[] {
  const files = images.values();
  const part = ({ type, text }: { type: string; text?: string }): ContentPart =>
    type === 'image' ? { type, image: folder.path(files.next().value!) } : { type: 'text', text: text! };
  return messages.map(({ role, content }) => ({
    role,
    content: typeof content === 'string' ? content : content.map(part),
  }));
}
