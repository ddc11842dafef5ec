import type { Generated, SamplingRequest, SubmitOptions } from '../model/qwen3vl/sampler.ts';
import { describe, G2rpoError, refuse, wantOptions } from '../runtime/errors.ts';

/** Where responses come from: the policy itself, or something that samples elsewhere. */
export interface RolloutEngine {
  /**
   * The n responses to a prompt, the j-th drawn under the number rolloutOffset + j. Requests are sampled together as far as there is
   * room; what they come to does not depend on each other. An engine that tells of responses as they end is kept busier.
   *
   * @throws ABORTED  by the signal, soon after it; nothing of the request is sampled from then on
   */
  submit(request: SamplingRequest, options?: SubmitOptions): Promise<Generated[]>;
}

export interface AnswerAllOptions<R> {
  /** responses under way at a time; the next request begins as soon as there are fewer */
  rollouts: number;
  signal?: AbortSignal | undefined;
  /** is told of every request that has all its responses, in the order in which they come to it; may take its time beside the others */
  onFinished: (request: R, responses: Generated[]) => void | Promise<void>;
}

/**
 * Answers requests in the order in which they come, so many at a time. Where one fails the others are stopped, and all have come to
 * rest when this returns or throws.
 *
 * @throws ABORTED  by the signal
 * @throws what an answer, `onFinished` or the requests themselves throw first
 */
export async function answerAll<R extends SamplingRequest>(
  engine: RolloutEngine,
  requests: AsyncIterable<R> | Iterable<R>,
  options: AnswerAllOptions<R>,
): Promise<void> {
  wantOptions('rollout', 'options', options, ['rollouts', 'signal', 'onFinished']);
  const { rollouts, signal, onFinished } = options;
  if (!(rollouts >= 1)) refuse('rollout', 'rollouts', 'must be at least 1', describe(rollouts));
  const failed = new AbortController();
  const either = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  const errors: unknown[] = [];
  let underWay = 0;
  let wake = (): void => undefined;
  const fail = (error: unknown) => {
    errors.push(error);
    failed.abort();
  };
  const answer = async (request: R) => {
    let open = request.n ?? 1;
    const ended = (count: number) => {
      open -= count;
      underWay -= count;
      wake();
    };
    try {
      const responses = await engine.submit(request, { signal: either, onResponse: () => ended(1) });
      ended(open);
      await onFinished(request, responses);
    } catch (error) {
      fail(error);
      ended(open);
    }
  };
  const all: Promise<void>[] = [];
  try {
    for await (const request of requests) {
      if (either.aborted) break;
      underWay += request.n ?? 1;
      all.push(answer(request));
      while (underWay >= rollouts && !either.aborted) await new Promise<void>((resolve) => (wake = resolve));
      if (either.aborted) break;
    }
  } catch (error) {
    fail(error);
  }
  await Promise.all(all);
  if (signal?.aborted) throw new G2rpoError('ABORTED', 'rollout: stopped by the caller');
  if (errors.length > 0) throw errors[0];
}
