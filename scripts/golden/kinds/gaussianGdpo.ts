import { advantages } from '../../../lib/index.ts';
import { defineKind } from '../kind.ts';
import { named } from './gdpo.ts';

interface Inputs {
  components: number[][];
  group: string[];
  task: string[];
  stage2_tie_tol: number;
}

export const gaussianGdpo = defineKind<Inputs>({
  name: 'gaussian gdpo',
  inputs: ['components', 'group', 'task', 'stage2_tie_tol'],
  async compute({ components, group, task, stage2_tie_tol }) {
    const batch = { rewards: group.map(() => 0), groups: group, tasks: task, components: named(components) };
    const settings = { componentWeights: named(components.map(() => 1)), tieTolerance: stage2_tie_tol };
    return { advantage: await advantages('gaussian-gdpo', batch, settings) };
  },
});
