import type { Checks } from '../checks.ts';
import type { ModelFolder } from '../modelFolder.ts';
import { chat } from './chat.ts';
import { checkpoint } from './checkpoint.ts';
import { hashes } from './hashes.ts';
import { images } from './images.ts';
import { modelCase } from './modelCase.ts';
import { positions } from './positions.ts';
import { sensitivity } from './sensitivity.ts';
import { sums } from './sums.ts';
import { tokenizer } from './tokenizer.ts';
import { videos } from './videos.ts';

/** Runs what a file describes. */
export type Part = (folder: ModelFolder, file: string, checks: Checks) => Promise<void>;

const BY_NAME: Readonly<Record<string, Part>> = {
  SHA256SUMS: sums,
  'hashes.json': hashes,
  'cases/chat.json': chat,
  'cases/images.json': images,
  'cases/positions.json': positions,
  'cases/sensitivity.json': sensitivity,
  'cases/tokenizer.json': tokenizer,
  'cases/videos.json': videos,
};

/** The part that runs a file, by its path in the folder; none if no kind of case is called so. */
export function partFor(file: string): Part | undefined {
  if (Object.hasOwn(BY_NAME, file)) return BY_NAME[file];
  if (/^cases\/[^/]+\/[^/]+\.json$/.test(file)) return modelCase;
  return /^checkpoints\/[^/]+$/.test(file) ? checkpoint : undefined;
}
