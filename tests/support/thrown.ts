import { G2rpoError } from '../../lib/runtime/errors.ts';

/** The G2rpoError that `call` throws; fails if it throws none or another class. */
export function thrownBy(call: () => unknown): G2rpoError {
  let value: unknown;
  try {
    value = call();
  } catch (error) {
    if (error instanceof G2rpoError) return error;
    throw error;
  }
  throw new Error(`expected a G2rpoError, got ${String(value)}`);
}

/** The G2rpoError that a promise rejects with; fails if it rejects with another class or not at all. */
export async function rejectionOf(promise: Promise<unknown>): Promise<G2rpoError> {
  const value = await promise.catch((error: unknown) => {
    if (error instanceof G2rpoError) return error;
    throw error;
  });
  if (value instanceof G2rpoError) return value;
  throw new Error(`expected a G2rpoError, got ${String(value)}`);
}
