import { MissingCapability, type Checks } from '../checks.ts';
import type { ModelFolder } from '../modelFolder.ts';

interface GoldenVideos {
  sampling: unknown[];
  resize: unknown[];
  pixels: { name: string }[];
}

/** `cases/videos.json`: nothing of it can be run yet. */
export async function videos(folder: ModelFolder, file: string, checks: Checks): Promise<void> {
  const { sampling, resize, pixels } = folder.json<GoldenVideos>(file);
  const names = [
    ...sampling.map((_, k) => `sampling ${k}`),
    ...resize.map((_, k) => `resize ${k}`),
    ...pixels.map(({ name }) => `pixels ${name}`),
  ];
  for (const name of names)
    await checks.run(name, () => {
      throw new MissingCapability('videos: there is no video processor');
    });
}
