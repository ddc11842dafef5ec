import sharp from 'sharp';
import { drawScene } from './draw.ts';
import { encodePng } from './png.ts';
import { FRAME, type Scene } from './scene.ts';

const SHEET_SIDE = 1024;

/** How many scenes one sheet takes. */
export function scenesPerSheet(imageSize: number): number {
  return Math.max(1, Math.floor(SHEET_SIDE / imageSize)) ** 2;
}

/**
 * The pixels of scenes, RGB in rows, `imageSize` × `imageSize` each. Scenes are drawn together on large sheets and cut
 * out, which is several times faster than one by one; tiles begin at whole pixels, so a scene's pixels do not depend
 * on its neighbours or its place.
 */
export async function renderScenes(scenes: readonly Scene[], imageSize: number): Promise<Uint8Array[]> {
  const perSheet = scenesPerSheet(imageSize);
  const pictures: Uint8Array[] = [];
  for (let start = 0; start < scenes.length; start += perSheet)
    pictures.push(...(await renderSheet(scenes.slice(start, start + perSheet), imageSize)));
  return pictures;
}

/** The PNG files of scenes. */
export async function renderPngs(scenes: readonly Scene[], imageSize: number): Promise<Uint8Array[]> {
  return (await renderScenes(scenes, imageSize)).map((rgb) => encodePng(rgb, imageSize, imageSize));
}

async function renderSheet(scenes: readonly Scene[], imageSize: number): Promise<Uint8Array[]> {
  const columns = Math.ceil(Math.sqrt(scenes.length));
  const width = columns * imageSize;
  const height = Math.ceil(scenes.length / columns) * imageSize;
  const corner = (i: number): [number, number] => [(i % columns) * imageSize, Math.floor(i / columns) * imageSize];
  const tiles = scenes.map((scene, i) => {
    const [x, y] = corner(i);
    return `<g transform="translate(${x} ${y}) scale(${imageSize / FRAME})">${drawScene(scene)}</g>`;
  });
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${tiles.join('')}</svg>`;
  const sheet = await sharp(Buffer.from(svg)).flatten({ background: '#ffffff' }).raw().toBuffer();
  return scenes.map((_, i) => {
    const [x, y] = corner(i);
    const rgb = new Uint8Array(3 * imageSize * imageSize);
    for (let row = 0; row < imageSize; row++) {
      const from = 3 * ((y + row) * width + x);
      rgb.set(sheet.subarray(from, from + 3 * imageSize), 3 * imageSize * row);
    }
    return rgb;
  });
}
