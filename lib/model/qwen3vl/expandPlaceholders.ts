import type { ModelConfig } from './config.ts';
import type { ProcessedImage } from './imageProcessor.ts';
import type { Tokenizer } from './tokenizer.ts';
import type { ProcessedVideo } from './videoProcessor.ts';

type Ids = ModelConfig['ids'];

/** Pictures and videos of a prompt, each kind in order of appearance. */
export interface Media {
  images: readonly ProcessedImage[];
  videos: readonly ProcessedVideo[];
}

/** How often a text says a token. */
export function countOf(text: string, token: string): number {
  return token === '' ? 0 : text.split(token).length - 1;
}

/**
 * The text with what stands for a video, vision_start, video_pad, vision_end, replaced by its temporal patches, each with its time:
 *
 *   <1.5 seconds> vision_start video_pad vision_end        once for every temporal patch, without spaces between them
 *
 * With `outerPair` the pair that stood there stays around all of them, as transformers has it since 5.10.
 */
export function withTimestamps(
  text: string,
  videos: readonly ProcessedVideo[],
  { ids, tokenizer, outerPair }: { ids: Ids; tokenizer: Tokenizer; outerPair: boolean },
): string {
  if (videos.length === 0) return text;
  const [start, pad, end] = [ids.visionStart, ids.video, ids.visionEnd].map((id) => tokenizer.decode([id]));
  const [first, ...rest] = text.split(pad!);
  let done = first!;
  rest.forEach((piece, k) => {
    const patches = videos[k]!.timestamps.map((time) => time + start + pad + end).join('');
    const bare = !outerPair && done.endsWith(start!) && piece.startsWith(end!);
    done = bare ? done.slice(0, -start!.length) + patches + piece.slice(end!.length) : done + patches + piece;
  });
  return done;
}

/** Every placeholder as often as what it stands for has visual tokens; a video has a placeholder for every temporal patch. */
export function expandPlaceholders(
  ids: Int32Array,
  { images, videos }: Media,
  { image, video }: Pick<Ids, 'image' | 'video'>,
) {
  const still = images.values();
  const patches = videos.flatMap((each) => Array.from({ length: each.gridThw[0] }, (_, p) => ({ each, p }))).values();
  const shown: (ProcessedImage | ProcessedVideo)[] = [];
  const inputIds: number[] = [];
  const visualRows: number[] = [];
  const repeat = (id: number, copies: number) => {
    for (let k = 0; k < copies; k++) visualRows.push(inputIds.push(id) - 1);
  };
  for (const id of ids) {
    if (id === image) {
      const next = still.next().value!;
      shown.push(next);
      repeat(id, next.visualTokens);
    } else if (id === video) {
      const { each, p } = patches.next().value!;
      if (p === 0) shown.push(each);
      repeat(id, each.visualTokens / each.gridThw[0]);
    } else inputIds.push(id);
  }
  return { inputIds: Int32Array.from(inputIds), visualRows: Int32Array.from(visualRows), shown };
}
