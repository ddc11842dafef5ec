import type { Reporter, SamplingProgress, ScoredRollout, StepReport, ValidationReport } from '../../lib/types.ts';

/** A reporter that keeps what it is told. */
export function collectReports() {
  const steps: StepReport[] = [];
  const validations: ValidationReport[] = [];
  const notes: string[] = [];
  const progress: SamplingProgress[] = [];
  const rewinds: number[] = [];
  const rollouts: { step: number; rollouts: readonly ScoredRollout[] }[] = [];
  const reporter: Reporter = {
    step: (report) => void steps.push(report),
    validation: (report) => void validations.push(report),
    note: (text) => void notes.push(text),
    rewind: (step) => void rewinds.push(step),
    sampling: (each) => void progress.push(each),
    rollouts: (step, all) => void rollouts.push({ step, rollouts: all }),
  };
  return { reporter, steps, validations, notes, progress, rewinds, rollouts };
}

/** Metrics that do not depend on the machine and its mood. */
export const repeatable = (metrics: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(metrics).filter(([name]) => !/^(timing_s|perf)\//.test(name)));
