import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { G2rpoError } from '../runtime/errors.ts';
import type { RewardInput } from '../types.ts';

export interface RewardWorkers {
  /** What the module's function returned. Rejects if it threw, hung or took its thread down. */
  call(input: RewardInput): Promise<unknown>;
  close(): Promise<void>;
}

const LOAD_TIMEOUT_MS = 60_000;

/**
 * What runs in the thread. It is a string, because a thread cannot be started from a .ts file: so sources and
 * build start it in the same way.
 */
const ENTRY = `
const { parentPort, workerData } = require('node:worker_threads');
const { pathToFileURL } = require('node:url');
async function load() {
  if (!/\\.[cm]?ts$/.test(workerData.file)) return (await import(pathToFileURL(workerData.file).href)).default;
  const { createJiti } = require(workerData.jiti);
  return createJiti(workerData.file, { fsCache: false }).import(workerData.file, { default: true });
}
const textOf = (error) => (error instanceof Error ? error.message : String(error));
load().then((fn) => {
  if (typeof fn !== 'function') throw new Error('its default export must be a function; got ' + typeof fn);
  parentPort.on('message', async (input) => {
    let answer;
    try { answer = { value: await fn(input) }; } catch (error) { answer = { threw: textOf(error) }; }
    try { parentPort.postMessage(answer); } catch (error) { parentPort.postMessage({ threw: textOf(error) }); }
  });
  parentPort.postMessage({ ready: true });
}).catch((error) => parentPort.postMessage({ unloadable: textOf(error) }));
`;

/** Threads that each have the module loaded and score one input at a time. @throws INVALID_CONFIG  it cannot be loaded */
export async function createRewardWorkers(file: string, count: number, timeoutMs: number): Promise<RewardWorkers> {
  const absolute = path.resolve(file);
  if (!existsSync(absolute)) throw new G2rpoError('INVALID_CONFIG', `rewards.file: no such file: ${file}`, { file });
  const all = new Set<Worker>();
  const idle: Worker[] = [];
  const waiting: ((worker: Worker) => void)[] = [];
  let closed = false;

  async function start(): Promise<Worker> {
    const jiti = createRequire(import.meta.url).resolve('jiti');
    const worker = new Worker(ENTRY, { eval: true, workerData: { file: absolute, jiti } });
    worker.unref(); // while a call is under way its timer keeps the process alive
    all.add(worker);
    worker.once('exit', () => all.delete(worker));
    worker.on('error', () => all.delete(worker)); // before its exit, so that nobody is given a dying thread
    const reply = await replyOf(worker, LOAD_TIMEOUT_MS, 'loading').catch((error: Error) => ({
      unloadable: error.message,
    }));
    if (!('unloadable' in reply)) return worker;
    await worker.terminate();
    throw new G2rpoError('INVALID_CONFIG', `rewards.file: ${file} could not be loaded: ${reply.unloadable}`, { file });
  }

  function release(worker: Worker): void {
    const next = waiting.shift();
    if (next) next(worker);
    else idle.push(worker);
  }

  for (let i = 0; i < count; i++) idle.push(await start());

  return {
    async call(input) {
      if (closed) throw new G2rpoError('DISPOSED', 'rewards: the runner was closed');
      let worker = idle.pop() ?? (await new Promise<Worker>((resolve) => waiting.push(resolve)));
      try {
        if (!all.has(worker)) worker = await start();
        worker.postMessage(input);
        const reply = await replyOf(worker, timeoutMs, 'scoring');
        if ('threw' in reply) throw new Error(`the reward function threw: ${String(reply.threw)}`);
        return reply.value;
      } finally {
        release(worker);
      }
    },
    async close() {
      closed = true;
      await Promise.all([...all].map((worker) => worker.terminate()));
    },
  };
}

interface Reply {
  value?: unknown;
  threw?: string;
  unloadable?: string;
}

/** The next message of a thread. A thread that does not answer in time is ended. */
function replyOf(worker: Worker, timeoutMs: number, what: 'loading' | 'scoring'): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const subject = what === 'loading' ? 'the module' : 'the reward function';
    const onMessage = (reply: Reply): void => settle(() => resolve(reply));
    const onError = (error: Error): void =>
      settle(() => reject(new Error(`${subject} ended its thread: ${error.message}`)));
    const onExit = (code: number): void =>
      settle(() => reject(new Error(`${subject} ended its thread with code ${code}`)));
    const timer = setTimeout(() => {
      stop();
      void worker.terminate().then(() => reject(new Error(`${subject} took longer than ${timeoutMs} ms`)), reject);
    }, timeoutMs);
    function stop(): void {
      clearTimeout(timer);
      worker.off('message', onMessage).off('error', onError).off('exit', onExit);
    }
    function settle(then: () => void): void {
      stop();
      then();
    }
    worker.on('message', onMessage).on('error', onError).on('exit', onExit);
  });
}
