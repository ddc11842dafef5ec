import type { Policy, PolicyBatch } from '../../../../lib/index.ts';
import { boundsFor, type ModelBounds } from '../bounds.ts';
import type { Checks, Comparer } from '../checks.ts';
import { packSequences, type GoldenSequence } from '../sequences.ts';
import { integers, mean, norm, onlyKeys, sum } from '../values.ts';

export interface GoldenObjective {
  temperature: number;
  lambda: number;
  lo: number;
  hi: number;
  N: number;
  loss: number;
  policy_term: number;
  penalty: number;
  mean_entropy: number;
  active_low: number;
  active_high: number;
  grad_global_l2: number;
  grads: Record<string, { l2: number; idx: number[]; val: number[] }>;
}
interface Task {
  kind: string;
  objective: GoldenObjective;
  sequences: readonly GoldenSequence[];
  advantages: readonly number[];
}

const KEYS = ['temperature', 'lambda', 'lo', 'hi', 'N', 'loss', 'policy_term', 'penalty', 'mean_entropy', 'active_low', 'active_high', 'grad_global_l2', 'noise_*', 'grads']; // prettier-ignore

/** Of which entropy a band takes account: of every token, or of their mean. */
const ENTROPIES: Readonly<Record<string, (entropy: ArrayLike<number>) => ArrayLike<number>>> = {
  token_hinge: (entropy) => entropy,
  mean_band: (entropy) => new Array<number>(entropy.length).fill(mean(entropy)),
};

/** Loss and all gradients of −mean(A · log p) + lambda · (how far entropies are outside of a band). */
export async function checkObjective(policy: Policy, task: Task, checks: Checks): Promise<void> {
  const { kind, objective: o } = task;
  const bounds = boundsFor(policy.config.text.hidden);
  await checks.run(`${kind}: loss`, async (check) => {
    onlyKeys(kind, o, KEYS);
    await backward(policy, task, check, bounds);
  });
  if (checks.done.at(-1)!.failures.some((failure) => failure.startsWith('case'))) return; // there are no gradients
  await checks.run(`${kind}: gradients`, (check) => compareGradients(policy, o, check, bounds));
}

async function backward(policy: Policy, task: Task, check: Comparer, bounds: ModelBounds): Promise<void> {
  const { kind, objective: o, sequences, advantages } = task;
  const banded = ENTROPIES[kind];
  if (!banded) throw new Error(`no objective is called ${kind}; there are ${Object.keys(ENTROPIES).join(', ')}`);
  const batch = packSequences(sequences, policy.config);
  const n = batch.targetIds.length;
  const { entropy } = await policy.forward(batch, { temperature: o.temperature });
  const looked = Array.from(banded(entropy));
  const slopes = looked.map((h) => (o.lambda / n) * (h < o.lo ? -1 : h > o.hi ? 1 : 0));
  const loss = await reinforce(policy, batch, o.temperature, slopes, sequences.flatMap((s, i) => s.targets?.ids.map(() => advantages[i]!) ?? [])); // prettier-ignore
  const penalty = mean(looked.map((h) => Math.max(0, o.lo - h) + Math.max(0, h - o.hi)));
  check.same('N', o.N, n);
  check.same('advantages', advantages.length, sequences.length);
  check.near('mean_entropy', o.mean_entropy, mean(entropy), bounds.value, 'entropies');
  check.near('policy_term', o.policy_term, loss, bounds.loss(o.policy_term), 'losses');
  check.near('penalty', o.penalty, penalty, bounds.loss(o.penalty), 'losses');
  check.near('loss', o.loss, loss + o.lambda * penalty, bounds.loss(o.loss), 'losses');
  const count = (outside: (h: number, by: number) => boolean, by: number) => Array.from(entropy).filter((h) => outside(h, by)).length; // prettier-ignore
  const sides: [string, number, (h: number, by: number) => boolean][] = [
    ['active_low', o.active_low, (h, by) => h < o.lo + by],
    ['active_high', o.active_high, (h, by) => h > o.hi - by],
  ];
  for (const [name, wanted, outside] of sides) {
    // an entropy this near to a threshold may be on either side of it
    const [least, most] = [count(outside, -bounds.value.atol), count(outside, bounds.value.atol)];
    const fits = Number.isInteger(wanted) && wanted >= least && wanted <= most;
    check.same(name, wanted, fits ? wanted : count(outside, 0));
  }
}

/** The policy term, with its gradient and that of the slopes in the parameters. */
async function reinforce(
  policy: Policy,
  batch: PolicyBatch,
  temperature: number,
  slopes: readonly number[],
  advantages: readonly number[],
): Promise<number> {
  const n = batch.targetIds.length;
  policy.zeroGradients();
  const { loss } = await policy.forwardBackward(
    batch,
    {
      kind: 'reinforce',
      oldLogProbs: new Float32Array(n),
      advantages: Float32Array.from(advantages),
      weights: new Float32Array(n).fill(1 / n),
      entropySlopes: Float32Array.from(slopes),
      clipLow: 0.2,
      clipHigh: 0.2,
      clipDual: 0,
    },
    { temperature },
  );
  return sum(loss);
}

async function compareGradients(policy: Policy, o: GoldenObjective, check: Comparer, bounds: ModelBounds) {
  const bound = bounds.gradient(o.grad_global_l2);
  check.same('grads: tensors', Object.keys(o.grads).toSorted(), policy.parameters.map((p) => p.name).toSorted());
  let total = 0;
  for (const { name, gradient } of policy.trained) {
    const got = await gradient!.read();
    const l2 = norm(got);
    total += l2 * l2;
    const want = o.grads[name];
    if (!want) continue;
    check.near(`grads.${name}`, want.l2, l2, bound, 'gradients');
    const at = integers(`grads.${name}.idx`, want.idx);
    check.near(
      `grads.${name}.val`,
      want.val,
      Array.from(at, (i) => got[i]),
      bound,
      'gradients',
    );
  }
  check.near('grad_global_l2', o.grad_global_l2, Math.sqrt(total), bound, 'gradients');
}
