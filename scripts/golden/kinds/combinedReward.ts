import { combineReward, withLength } from '../../../lib/index.ts';
import { defineKind } from '../kind.ts';

interface Inputs {
  accuracy: number;
  format: number;
  structure: number;
  length: number;
  format_weight: number;
  length_weight: number;
}

export const combinedReward = defineKind<Inputs>({
  name: 'reward of parts',
  inputs: ['accuracy', 'format', 'structure', 'length', 'format_weight', 'length_weight'],
  compute({ accuracy, format, structure, length, format_weight, length_weight }) {
    const reward = combineReward(accuracy, format, format_weight, structure);
    return { overall: withLength(reward, length, { weight: length_weight, gate: 'none' }).overall };
  },
});
