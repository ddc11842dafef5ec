import { duration, formatTable } from './table.ts';

/** A plan of a run; structurally that of the training room. */
export interface ShownPlan {
  parameters: number;
  prompts: { looked: number; tokens: number; longest: number; visualTokens: number };
  holdings: readonly { name: string; bytes: number; onHost?: boolean; uncounted?: boolean }[];
  phases: readonly { name: string; of: string; bytes: number; seconds: number | undefined }[];
  peakBytes: number;
  limit:
    { bytes: number; stays: number; short: readonly { phase: string; bytes: number; halved: boolean }[] } | undefined;
  flopsPerSecond: number;
  updatesPerBatch: number;
  notes: readonly string[];
  tooManyRows: number | undefined;
}

/** Two tables: what stays in memory, and what every phase takes beside it and how long; then the peak and the batch. */
export function formatPlan(plan: ShownPlan): string {
  const { prompts, holdings, phases } = plan;
  const held = holdings.reduce((sum, { bytes }) => sum + bytes, 0);
  const perBatch = phases.reduce((sum, { seconds = 0 }) => sum + seconds, 0);
  const updates = plan.updatesPerBatch === 1 ? 'one update' : `${plan.updatesPerBatch} updates`;
  return [
    `${(plan.parameters / 1e6).toFixed(1)} M parameters; prompts of ${prompts.tokens.toFixed(0)} tokens (${prompts.visualTokens.toFixed(0)} visual; the longest of ${prompts.looked} has ${prompts.longest})`,
    '',
    formatTable([
      ['stays in memory', ''],
      ...holdings.map(({ name, bytes, onHost, uncounted }) => [
        onHost ? `${name}, in the host's memory beside a GPU` : uncounted ? `${name}, beside any limit` : name,
        size(bytes),
      ]),
      ['together', size(held)],
    ]),
    '',
    formatTable(
      [
        ['phase', 'at a time', 'beside that', 'a rollout batch'],
        ...phases.map(({ name, of, bytes, seconds }) => [name, of, size(bytes), seconds === undefined ? '' : `about ${duration(seconds)}`]), // prettier-ignore
      ],
      { right: (column) => column > 1 },
    ),
    '',
    `peak memory ${size(plan.peakBytes)}; a rollout batch with ${updates} about ${duration(perBatch)}`,
    ...(plan.limit ? limited(plan.limit) : []),
    ...plan.notes,
    ...(plan.tooManyRows === undefined ? [] : [`updates of up to ${plan.tooManyRows} rows are more than train.microBatchTokens: with train.optimizerInBackward an update is never cut, and the run would end there`]), // prettier-ignore
    `(at ${(plan.flopsPerSecond / 1e9).toFixed(0)} GFLOP/s, measured now; responses as long as they may be, no prompt dropped, rewards free)`,
  ].join('\n');
}

/** What a limit of memory means for the run. */
function limited({ bytes, stays, short }: NonNullable<ShownPlan['limit']>): string[] {
  if (stays > bytes)
    return [
      `what stays takes ${size(stays)} of the engine's memory, more than the limit of ${size(bytes)} (train.memoryLimitMb): no run can begin; ` +
        'policy.weights bf16, train.optimizer adamw8bit, train.trained or train.lora take less',
    ];
  if (short.length === 0) return [`the limit of ${size(bytes)} (train.memoryLimitMb) is enough`];
  return short.map(
    ({ phase, bytes: wanted, halved }) =>
      `${phase}: the engine wants ${size(wanted)}, more than the limit of ${size(bytes)} (train.memoryLimitMb): ` +
      (halved
        ? 'micro-batches will be halved until they fit'
        : `the run ${wanted > 1.1 * bytes ? 'will' : 'may'} end there; fewer prompts at a time (rollout.batchPrompts, eval.batchPrompts), ` +
          'a smaller rollout.n or rollout.maxTokens take less'),
  );
}

function size(bytes: number): string {
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(0)} MB`;
  return `${(bytes / 1e9).toFixed(bytes < 1e10 ? 2 : 1)} GB`;
}
