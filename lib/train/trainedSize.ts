import { loraTargets, matrixOf } from '../model/qwen3vl/lora.ts';
import { elementCount, type TensorShape } from '../model/qwen3vl/tensorNames.ts';
import { trainedNames } from '../model/qwen3vl/trained.ts';
import type { TrainConfig } from './config.ts';

/** What of a configuration says what is trained. */
export type TrainedChoice = Pick<TrainConfig['train'], 'freeze' | 'only' | 'lora'>;

/** Of each tensor that is trained how many numbers an optimizer changes, of LoRA those of its adapter. */
function sizes(tensors: readonly TensorShape[], { freeze, only, lora }: TrainedChoice) {
  if (lora)
    return loraTargets(tensors, lora).map((tensor) => {
      const [rows, columns] = matrixOf(tensor.shape);
      return { tensor, size: lora.rank * (rows + columns) };
    });
  const names = trainedNames(
    tensors.map(({ name }) => name),
    { freeze, only },
  );
  return tensors.filter(({ name }) => names.has(name)).map((tensor) => ({ tensor, size: elementCount(tensor.shape) }));
}

/** How many numbers an optimizer changes, of LoRA those of the adapters, else of the tensors that count. @throws INVALID_CONFIG  a pattern or target names nothing */
export function trainedSize(
  tensors: readonly TensorShape[],
  choice: TrainedChoice,
  counts: (tensor: TensorShape) => boolean = () => true,
): number {
  return sizes(tensors, choice).reduce((sum, { tensor, size }) => sum + (choice.lora || counts(tensor) ? size : 0), 0);
}

/** How many numbers an optimizer changes of the tensor of which it changes most. */
export const largestTrained = (tensors: readonly TensorShape[], choice: TrainedChoice): number =>
  sizes(tensors, choice).reduce((most, { size }) => Math.max(most, size), 0);

const EMBEDDING = 'model.language_model.embed_tokens.weight';

/**
 * How many numbers of gradients are there at most at a time, where the backward pass makes the update: those of one layer, block or merger. Of an
 * embedding that is also the head they are there from the head to the end of the language model.
 */
export function gradientsAtOnce(tensors: readonly TensorShape[], choice: TrainedChoice): number {
  const tied = !tensors.some(({ name }) => name === 'lm_head.weight');
  const parts = new Map<string, number>();
  let [throughout, tower] = [0, 0];
  for (const { tensor, size } of sizes(tensors, choice)) {
    const { name } = tensor;
    if (tied && name === EMBEDDING) throughout = size;
    else {
      const part = partOf(name);
      parts.set(part, (parts.get(part) ?? 0) + size);
      if (name.startsWith('model.visual.')) tower = Math.max(tower, parts.get(part)!);
    }
  }
  const text = Math.max(0, ...[...parts].flatMap(([part, size]) => (part.startsWith('model.visual.') ? [] : [size])));
  return Math.max(throughout + text, tower);
}

/** What of the policy a tensor's gradient is finished with: csrc/model/qwen3vl lends and takes them so. */
const partOf = (name: string): string =>
  /^.*\.(layers|blocks|deepstack_merger_list)\.\d+\./.exec(name)?.[0] ??
  /^model\.visual\.(merger|p)/.exec(name)?.[0] ?? // the patches' projection and positions come last, together
  name;
