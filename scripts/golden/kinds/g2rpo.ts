import { advantages } from '../../../lib/index.ts';
import { defineKind } from '../kind.ts';

interface Inputs {
  rewards: number[];
  group: string[];
  task: string[];
  stage2_tie_tol: number;
}

export const g2rpo = defineKind<Inputs>({
  name: 'g2rpo',
  inputs: ['rewards', 'group', 'task', 'stage2_tie_tol'],
  async compute({ rewards, group, task, stage2_tie_tol }) {
    const by = (mode: string) =>
      advantages('g2rpo', { rewards, groups: group, tasks: task }, { mode, tieTolerance: stage2_tie_tol });
    return { group: await by('group'), task: await by('task'), group_then_task: await by('group_then_task') };
  },
});
