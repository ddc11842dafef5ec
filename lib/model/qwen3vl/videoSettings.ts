import type { ModelConfig } from './config.ts';
import { ConfigReader } from './configReader.ts';
import { readImageSettings, type ImageSettings } from './imageSettings.ts';

export interface VideoSettings extends ImageSettings {
  /** frames taken of a second */
  fps: number;
  minFrames: number;
  maxFrames: number;
  /**
   * what areas are of: all frames of a clip together, as in the checkpoint's file, or each frame alone, as in the package qwen-vl-utils,
   * which takes an even number of frames, too
   */
  sizing: 'clip' | 'frame';
  /** no frame may take more of the area than it has a share in, and none more than a picture of 768 visual tokens */
  limitFrames: boolean;
  /** vision_start and vision_end stand around the whole video as well as around each of its parts */
  outerPair: boolean;
}

/** What may be said beside the file. Areas are of all sampled frames together, or of one with the sizing 'frame'. */
export type VideoOptions = Partial<
  Pick<
    VideoSettings,
    'minPixels' | 'maxPixels' | 'fps' | 'minFrames' | 'maxFrames' | 'sizing' | 'limitFrames' | 'outerPair'
  >
>;

/**
 * The settings in a parsed `video_preprocessor_config.json`. `size` counts the pixels of all sampled frames.
 *
 * @throws INVALID_CHECKPOINT  all problems at once
 */
export function parseVideoSettings(json: unknown, file: string, config: Pick<ModelConfig, 'vision'>): VideoSettings {
  const read = new ConfigReader(json);
  const settings = {
    ...readImageSettings(read, config),
    fps: read.has('fps') ? read.positive('fps') : 2,
    minFrames: read.has('min_frames') ? read.integer('min_frames') : 4,
    maxFrames: read.has('max_frames') ? read.integer('max_frames') : 768,
    sizing: 'clip' as const,
    limitFrames: false,
    outerPair: false,
  };
  read.expect('do_sample_frames', true);
  if (settings.minFrames > settings.maxFrames) read.problem('min_frames must be at most max_frames');
  read.finish(file);
  return settings;
}
