/** Tokens that stand for pictures and videos, and that no policy may say. */
export const PLACEHOLDERS = ['<|image_pad|>', '<|video_pad|>', '<|vision_start|>', '<|vision_end|>', '<|vision_pad|>'];
