import type { Demonstration } from '../data/dataset.ts';
import { createPromptStream, type PromptStream } from '../data/promptStream.ts';
import type { Policy } from '../model/qwen3vl/policy.ts';
import { G2rpoError } from '../runtime/errors.ts';
import type { SftConfig } from './config.ts';
import { encodeDemonstration, type EncodedDemonstration } from './demonstrations.ts';

/** Where the rows of a phase come from: units of rows that show one picture, drawn together so that it is computed once. */
export interface Source {
  stream: PromptStream;
  units: ReadonlyMap<unknown, readonly Demonstration[]>;
  /** its share of an update, at least one */
  rows: number;
}

/** Rows of an update as the policy reads them, and why others were left out. */
export interface DrawnRows {
  encoded: EncodedDemonstration[];
  skipped: string[];
}

export function openSource(demonstrations: readonly Demonstration[], rows: number, seed: number): Source {
  const units = new Map<unknown, Demonstration[]>();
  const first: Demonstration[] = [];
  let open: Demonstration[] = [];
  for (const row of demonstrations) {
    const shown = mediaOf(row);
    const same = shown !== '' && open[0] !== undefined && mediaOf(open[0]) === shown;
    if (same) open.push(row);
    else {
      open = [row];
      first.push(row);
      units.set(row, open);
    }
  }
  return { stream: createPromptStream(first, { seed }), units, rows };
}

/** What a row shows, as a name of it; empty if nothing. */
const mediaOf = ({ images, videos = [] }: Demonstration): string =>
  images.length + videos.length === 0 ? '' : JSON.stringify([images, videos]);

/**
 * Whole units until there are rows enough. Where bad rows are skipped, others take the place of those that cannot be read.
 *
 * @throws NO_PROMPTS  the whole source has been drawn, and none of it could be read
 * @throws INVALID_DATA, INVALID_PROMPT, INVALID_IMAGE, INVALID_VIDEO  unless bad rows are skipped
 */
export async function drawRows(
  { stream, units, rows }: Source,
  policy: Pick<Policy, 'encode' | 'tokenizer'>,
  { data, policy: { maxPromptTokens } }: Pick<SftConfig, 'data' | 'policy'>,
): Promise<DrawnRows> {
  const options = { template: data.template, tags: data.tags, maxPromptTokens };
  const read = async (row: Demonstration) => {
    try {
      return await encodeDemonstration(policy, row, options);
    } catch (error) {
      if (!(error instanceof G2rpoError) || data.onBadRow === 'error') throw error;
      return error.message;
    }
  };
  const drawn: DrawnRows = { encoded: [], skipped: [] };
  for (let tried = 0; drawn.encoded.length < rows;) {
    if (tried >= units.size && drawn.encoded.length === 0)
      throw new G2rpoError(
        'NO_PROMPTS',
        `sft: demonstrations that can be read were wanted; none of the last ${drawn.skipped.length} could be; the first: ${drawn.skipped[0]}`,
        { skipped: drawn.skipped.length },
      );
    const more: Demonstration[] = [];
    while (drawn.encoded.length + more.length < rows) {
      more.push(...units.get(stream.next(1)[0])!);
      tried++;
    }
    for (const found of await Promise.all(more.map(read)))
      if (typeof found === 'string') drawn.skipped.push(found);
      else drawn.encoded.push(found);
  }
  return drawn;
}
