import type { Checks } from '../checks.ts';
import type { ModelFolder } from '../modelFolder.ts';
import type { GoldenSequence } from '../sequences.ts';
import { onlyKeys } from '../values.ts';
import { checkGeneration, type GoldenGeneration } from './generation.ts';
import { checkObjective, type GoldenObjective } from './objective.ts';
import { checkPacked } from './packed.ts';
import { checkSequence } from './sequence.ts';

interface ModelCase extends Partial<GoldenGeneration> {
  case: string;
  config: string;
  sequences?: GoldenSequence[];
  advantages?: number[];
  objectives?: Record<string, GoldenObjective>;
  packed?: { cu_seqlens: number[] };
  min_router_gap?: number;
}

const KEYS = ['case', 'config', 'description', 'sequences', 'advantages', 'objectives', 'packed', 'min_router_gap'];
const GENERATION_KEYS = ['case', 'config', 'description', 'prompt', 'repetition_penalty', 'generated_ids', 'steps', 'min_top2_gap', 'cache_equals_no_cache', 'max_abs_logp_diff_*']; // prettier-ignore

/** `cases/<name>/<case>.json` */
export async function modelCase(folder: ModelFolder, file: string, checks: Checks): Promise<void> {
  const golden = folder.json<ModelCase>(file);
  await checks.run('case', (check) => {
    const [name, checkpoint] = file.split('/').toReversed();
    check.same('case', golden.case, name!.replace(/\.json$/, ''));
    check.same('config', golden.config, checkpoint);
    onlyKeys('case', golden, golden.prompt ? GENERATION_KEYS : KEYS);
    if (!golden.prompt && !golden.sequences?.length) throw new Error('there are neither sequences nor a prompt');
    const gap = golden.min_router_gap;
    if (gap !== undefined && !(gap > 0 && gap <= 1))
      check.fail('min_router_gap', `must be a gap of probabilities; is ${gap}`);
  });
  if (checks.done.at(-1)!.failures.length > 0) return;
  const policy = await folder.policy(golden.config);
  if (golden.prompt) return checkGeneration(policy, golden as GoldenGeneration, checks);
  const sequences = golden.sequences!;
  for (const sequence of sequences) await checkSequence(policy, sequence, checks);
  if (golden.packed) await checkPacked(policy, sequences, golden.packed, checks);
  for (const [kind, objective] of Object.entries(golden.objectives ?? {}))
    await checkObjective(policy, { kind, objective, sequences, advantages: golden.advantages ?? [] }, checks);
}
