import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { writeGallery, writeSmallPolicy } from '../../lib/data/gallery/index.ts';
import { createReporter } from '../../lib/report/reporter.ts';
import { createTerminal } from '../../lib/report/terminal.ts';
import type { Reporter } from '../../lib/types.ts';
import { repeatable } from './collectReports.ts';

/** For the tests of a file: runs of a policy of few weights in a folder of its own, and what may not depend on how often they were interrupted. */
export function smallRuns() {
  let dir: string;
  const at = (...path: string[]) => join(dir, ...path);

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'g2rpo-resume-'));
    await writeGallery({
      out: at('gallery'),
      train: 24,
      validation: 6,
      demonstrations: { demonstrations: { scenes: 6 } },
      seed: 1,
    });
    await writeSmallPolicy(at('policy'), { seed: 3, hidden: 32, layers: 2, visionHidden: 32, visionDepth: 2 });
    // every response gets something, so that a policy that knows nothing learns at once
    writeFileSync(at('reward.mjs'), 'export default ({ response }) => (response.length % 7) / 7;\n');
    const words = ['red', 'blue', 'red', 'green', 'blue', 'red'];
    writeFileSync(
      at('words.jsonl'),
      words
        .map((word) => JSON.stringify({ problem: `say ${word}`, problem_type: 'OCR', demonstration: word }))
        .join('\n'),
    );
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  const configOf = (output: string, changes: object = {}) => ({
    output: at(output),
    policy: { path: at('policy') },
    data: { train: at('gallery', 'train.jsonl'), validation: at('gallery', 'validation.jsonl'), template: 'plain' },
    rollout: { prompts: 2, n: 3, maxTokens: 6, filter: { low: -1, high: 2 } },
    rewards: { file: at('reward.mjs'), concurrency: 1 },
    train: {
      steps: 10,
      updatePrompts: 1,
      learningRate: 1e-2,
      saveEverySteps: 2,
      keepLast: 2,
      microBatchTokens: 64,
      ...changes,
    },
    eval: { everySteps: 4 },
  });
  const sftConfigOf = (output: string, phases: object[], more: object = {}) => ({
    output: at(output),
    policy: { path: at('policy') },
    data: { validation: at('gallery', 'validation.jsonl'), template: 'plain' },
    rollout: { maxTokens: 4 },
    train: { saveEverySteps: 2 },
    phases,
    ...more,
  });

  /** Runs something with a reporter that writes files, and calls `onStep` after each. */
  async function reported<T>(
    output: string,
    start: (reporter: Reporter) => Promise<T>,
    onStep: (step: number) => void = () => undefined,
  ) {
    const terminal = createTerminal({ write: () => true });
    const reporter = createReporter({ dir: at(output), terminal });
    const { step } = reporter;
    reporter.step = async (report) => {
      await step(report);
      onStep(report.step);
    };
    try {
      return await start(reporter);
    } finally {
      await reporter.close();
    }
  }

  /** How many validations a run that goes on takes. */
  async function validationsOf(output: string, start: (reporter: Reporter) => Promise<unknown>): Promise<number> {
    let count = 0;
    await reported(output, (reporter) => {
      const { validation } = reporter;
      reporter.validation = async (report) => {
        count++;
        await validation(report);
      };
      return start(reporter);
    });
    return count;
  }

  /** Everything of a finished run that may not depend on how often it was interrupted. */
  function outcomeOf(output: string, weights = 'model.safetensors') {
    const sha = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
    const checkpoints = readdirSync(at(output, 'checkpoints')).sort();
    const rows = (name: string) =>
      readFileSync(at(output, `${name}.jsonl`), 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => repeatable(JSON.parse(line) as Record<string, unknown>));
    return {
      checkpoints,
      policy: sha(at(output, 'policy', 'model.safetensors')),
      weights: sha(at(output, 'checkpoints', checkpoints.at(-1)!, 'policy', weights)),
      moments: sha(at(output, 'checkpoints', checkpoints.at(-1)!, 'optimizer.safetensors')),
      metrics: rows('metrics'),
      samples: rows('samples'),
    };
  }

  return { at, configOf, sftConfigOf, reported, validationsOf, outcomeOf };
}
