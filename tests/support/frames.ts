import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { picture, pngOf } from '../../scripts/golden/model/pictures.ts';

/** A PNG of one level, so that frames can be told apart. */
export const plainPng = (level: number, width = 64, height = 32): Promise<Buffer> =>
  pngOf(picture(height, width, () => level));

/** A new folder of such frames by name. */
export async function frameFolder(levels: Record<string, number>, width?: number, height?: number): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), 'g2rpo-frames-'));
  for (const [name, level] of Object.entries(levels))
    writeFileSync(join(dir, name), await plainPng(level, width, height));
  return dir;
}
