import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { G2rpoError } from '../../runtime/errors.ts';
import type { ImageSource, VideoSource } from './chatTemplate.ts';
import { nameOf } from './decodeImage.ts';

/** The frames of a video in their order, and what to call it in a message. */
export interface Frames {
  name: string;
  sources: readonly ImageSource[];
}

const PICTURE = /\.(jpe?g|png|webp|gif|tiff?|heif|heic|avif|jp2|jxl)$/i;
const CONTAINER = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|ts|wmv|flv|ogv|3gp)$/i;
const BY_NAME = new Intl.Collator('en', { numeric: true });

/**
 * The frames of a video: those of a list as they stand, or the pictures in a folder by name, where frame2 comes before frame10. Other
 * files in the folder, and hidden ones, are left alone. None of them is opened.
 *
 * @throws INVALID_VIDEO  no such folder, no picture in it, a file in place of a folder, an empty list
 * @throws IO  the file system refused
 */
export function framesOf(frames: VideoSource['frames']): Frames {
  if (typeof frames === 'string') return { name: frames, sources: picturesIn(frames) };
  if (!Array.isArray(frames)) throw refusal('video', `frames must be a folder or a list of pictures; got ${typeof frames}`); // prettier-ignore
  if (frames.length === 0) throw refusal('video', 'the list of frames is empty');
  return { name: `video that begins with ${nameOf(frames[0]!)}`, sources: frames };
}

function picturesIn(folder: string): string[] {
  const stat = statSync(folder, { throwIfNoEntry: false });
  if (!stat) throw refusal(folder, 'no such folder of frames');
  if (!stat.isDirectory())
    throw refusal(
      folder,
      (CONTAINER.test(folder) ? 'video files are not decoded' : 'a video must be a folder of frames; got a file') +
        `; extract its frames, as with: ffmpeg -i ${path.basename(folder)} -vf fps=2 FOLDER/%05d.png`,
    );
  const files = namesIn(folder).filter((file) => !file.startsWith('.'));
  const pictures = files.filter((file) => PICTURE.test(file)).sort(byName);
  if (pictures.length === 0)
    throw refusal(folder, `a folder of frames must hold pictures (.png, .jpg, …); got none in ${files.length} files`);
  return pictures.map((file) => path.join(folder, file));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (cause) {
    throw new G2rpoError('IO', `${folder}: ${(cause as Error).message}`, { video: folder }, { cause });
  }
}

/** Names that differ only in leading zeros are ordered all the same. */
const byName = (a: string, b: string): number => BY_NAME.compare(a, b) || (a < b ? -1 : 1);

function refusal(name: string, message: string): G2rpoError {
  return new G2rpoError('INVALID_VIDEO', `${name}: ${message}`, { video: name });
}
