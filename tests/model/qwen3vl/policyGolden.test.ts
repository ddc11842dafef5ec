import { readdirSync } from 'node:fs';
import { goldenPath, testGolden } from '../../support/goldenModel.ts';

// logits, log-probabilities, entropies, losses, gradients and greedy decoding, held to the reference implementation
const checkpoints = readdirSync(goldenPath('cases'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
testGolden(
  ...checkpoints.flatMap(({ name }) => readdirSync(goldenPath(`cases/${name}`)).map((file) => `cases/${name}/${file}`)),
  'cases/sensitivity.json',
);
