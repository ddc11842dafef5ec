import type { Kind } from '../kind.ts';
import { aggregation } from './aggregation.ts';
import { bandPenalty } from './bandPenalty.ts';
import { combinedReward } from './combinedReward.ts';
import { emaGrpo } from './emaGrpo.ts';
import { endToEnd } from './endToEnd.ts';
import { entropyBand } from './entropyBand.ts';
import { filtering } from './filtering.ts';
import { g2rpo } from './g2rpo.ts';
import { gaussianGdpo } from './gaussianGdpo.ts';
import { gaussianMap } from './gaussianMap.ts';
import { gdpo } from './gdpo.ts';
import { groupAdvantages } from './groupAdvantages.ts';
import { kl } from './kl.ts';
import { largeGaussianMap } from './largeGaussianMap.ts';
import { lengthReward } from './lengthReward.ts';
import { logits } from './logits.ts';
import { normalQuantile } from './normalQuantile.ts';
import { overlongPenalty } from './overlongPenalty.ts';
import { policyLoss } from './policyLoss.ts';
import { rankScores } from './rankScores.ts';
import { rolloutCorrection } from './rolloutCorrection.ts';
import { taskRewards } from './taskRewards.ts';
import { tokenAdvantages } from './tokenAdvantages.ts';

/** Every kind of case there is. */
export const KINDS: readonly Kind[] = [
  ...[gaussianMap, largeGaussianMap, normalQuantile, rankScores],
  ...[g2rpo, gaussianGdpo, groupAdvantages, emaGrpo, gdpo, tokenAdvantages],
  ...[policyLoss, aggregation, kl, rolloutCorrection],
  ...[logits, entropyBand, bandPenalty, endToEnd],
  ...[filtering, lengthReward, overlongPenalty, combinedReward],
  ...taskRewards,
];
