import { z } from 'zod';
import { DIVISOR, DIVISORS, isDivisor } from '../model/qwen3vl/divisor.ts';

/** Counts are i32 where arithmetic is done. */
export const LARGEST_COUNT = 2 ** 31 - 1;
export const positive = z.int().min(1).max(LARGEST_COUNT);
export const path = z
  .string()
  .min(1)
  .refine((text) => !text.includes('\0'), 'must be a path, which has no NUL');
/** A list, or what would be its only entry. */
export const oneOrMore = (entry: z.ZodType<string, string>, problem?: string) =>
  z.union([entry.transform((one) => [one]), z.array(entry).min(1)], problem);
export const files = oneOrMore(path, 'must be a path, or a list of paths');
export const divisor = z
  .number()
  .refine(isDivisor, `must be ${DIVISOR}`)
  .meta({ minimum: DIVISORS.least, maximum: DIVISORS.most }); // for the reference of all keys
export const share = z.number().min(0).max(1);
export const beta = z.number().min(0).lt(1);
