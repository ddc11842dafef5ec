import { loraTargets, matrixOf } from '../model/qwen3vl/lora.ts';
import { elementCount, type TensorShape } from '../model/qwen3vl/tensorNames.ts';
import { trainedNames } from '../model/qwen3vl/trained.ts';
import type { TrainConfig } from './config.ts';

/** What of a configuration says what is trained. */
export type TrainedChoice = Pick<TrainConfig['train'], 'freeze' | 'only' | 'lora'>;

/** How many numbers an optimizer changes, of LoRA those of the adapters, else of the tensors that count. @throws INVALID_CONFIG  a pattern or target names nothing */
export function trainedSize(
  tensors: readonly TensorShape[],
  { freeze, only, lora }: TrainedChoice,
  counts: (tensor: TensorShape) => boolean = () => true,
): number {
  if (lora)
    return loraTargets(tensors, lora).reduce((sum, { shape }) => {
      const [rows, columns] = matrixOf(shape);
      return sum + lora.rank * (rows + columns);
    }, 0);
  const names = trainedNames(
    tensors.map(({ name }) => name),
    { freeze, only },
  );
  return tensors.reduce((sum, each) => sum + (names.has(each.name) && counts(each) ? elementCount(each.shape) : 0), 0);
}
