import { loraMerge } from '../../kernels/lora.ts';
import { G2rpoError, nearestName } from '../../runtime/errors.ts';
import { zeros, type Tensor } from '../../runtime/tensor.ts';
import { realOf, realTensor, type Parameter, type Real, type TrainedParameter } from './parameter.ts';
import { eachWord } from './randomStream.ts';
import { elementCount, type TensorShape } from './tensorNames.ts';
import { matchesName } from './trained.ts';

/** A change of low rank: weight = base + (alpha / rank)·b·a, of which a and b alone are trained. */
export interface LoraOptions {
  rank: number;
  alpha: number;
  /** short names like `q_proj`, or patterns of module names; `*` stands for any text */
  targets: readonly string[];
  /** of the first values of a; b begins at 0 */
  seed: number;
}

/** Values of a change, as adapters keep them. */
export interface LoraValues {
  /** [rank, in] */
  a: Float32Array<ArrayBuffer>;
  /** [out, rank] */
  b: Float32Array<ArrayBuffer>;
}

/** One changed matrix. */
export interface Adapter {
  /** of the weight */
  name: string;
  rank: number;
  scale: number;
  base: Tensor<Real | 'bf16'>;
  /** in f32 where the base is bf16, which would lose most changes */
  merged: Tensor<Real>;
  a: TrainedParameter;
  b: TrainedParameter;
}

/** The module of a weight: what adapters are named after. */
export const moduleOf = (name: string): string => name.replace(/\.weight$/, '');

/** Matrices of linear maps inside layers, towers and mergers: what can be adapted. */
const isLinear = (name: string): boolean =>
  /\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)\.weight$/.test(name) ||
  /\.visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.linear_fc[12])\.weight$/.test(name) ||
  /\.visual\.(merger|deepstack_merger_list\.\d+)\.linear_fc[12]\.weight$/.test(name);

const isTarget = (target: string, module: string): boolean =>
  matchesName(target, module) || matchesName(`*.${target}`, module);

/**
 * The weights that targets name, in file order.
 *
 * @throws INVALID_CONFIG  a target names no linear map that can be adapted, or one that is smaller than the rank
 */
export function loraTargets(
  tensors: readonly TensorShape[],
  { targets, rank }: { targets: readonly string[]; rank: number },
): TensorShape[] {
  const linear = tensors.filter(({ name }) => isLinear(name));
  for (const target of targets) {
    if (linear.some(({ name }) => isTarget(target, moduleOf(name)))) continue;
    const other = tensors.find(({ name }) => isTarget(target, moduleOf(name)));
    const near = nearestName(
      target,
      linear.map(({ name }) => moduleOf(name).split('.').at(-1)!),
    );
    const experts = tensors.some(({ name }) => name.includes('.mlp.experts.')) && /^(gate|up|down)_proj$/.test(target);
    const why = experts
      ? 'is not there: the MLPs of this policy are experts, which cannot be adapted; give targets: [q_proj, k_proj, v_proj, o_proj]'
      : other
        ? `names ${moduleOf(other.name)}, which is no linear map inside a layer and cannot be adapted`
        : `names no linear map of this policy${near ? `; did you mean ${near}?` : ''}`;
    throw new G2rpoError('INVALID_CONFIG', `train.lora.targets: ${JSON.stringify(target)} ${why}`, { target });
  }
  const named = linear.filter(({ name }) => targets.some((target) => isTarget(target, moduleOf(name))));
  for (const { name, shape } of named) {
    const most = Math.min(...matrixOf(shape));
    if (rank > most)
      throw new G2rpoError(
        'INVALID_CONFIG',
        `train.lora.rank: must be at most ${most}, the smaller side of ${name} [${matrixOf(shape).join(', ')}]; got ${rank}`,
        { rank, most, name },
      );
  }
  return named;
}

/**
 * What a change begins with: a uniform in ±1/√in, which is Kaiming's with a slope of √5; b 0, so that nothing is changed yet. The
 * numbers are a pure function of seed and name.
 */
export function initialLora(name: string, [out, columns]: [number, number], rank: number, seed: number): LoraValues {
  const a = new Float32Array(rank * columns);
  const bound = 1 / Math.sqrt(columns);
  const uniform = (word: number) => bound * ((2 * (word + 0.5)) / 2 ** 32 - 1);
  eachWord(`lora/${seed}/${name}`, Math.ceil(a.length / 2), (i, high, low) => {
    a[2 * i] = uniform(high);
    if (2 * i + 1 < a.length) a[2 * i + 1] = uniform(low);
  });
  return { a, b: new Float32Array(out * rank) };
}

/** Rows and columns of a weight, as a linear map sees them. */
export const matrixOf = (shape: readonly number[]): [number, number] => [shape[0]!, elementCount(shape.slice(1))];

/** The weight of `parameter` becomes base + scale·b·a; its frozen values move into the adapter. */
export function adapt(
  parameter: Parameter,
  { a, b }: LoraValues,
  { rank, scale, keepGradients = false }: { rank: number; scale: number; keepGradients?: boolean },
): Adapter {
  const { name, shape, weight } = parameter;
  const [out, columns] = matrixOf(shape);
  const dtype = realOf(weight);
  const make = (part: 'A' | 'B', values: Float32Array<ArrayBuffer>, size: [number, number]): TrainedParameter => ({
    name: `${moduleOf(name)}.lora_${part}.weight`,
    shape: size,
    weight: realTensor(dtype, values, size),
    gradient: keepGradients ? zeros(dtype, size) : undefined,
  });
  const merged = zeros(dtype, shape);
  parameter.weight = merged;
  const adapter = {
    ...{ name, rank, scale, base: weight, merged },
    a: make('A', a, [rank, columns]),
    b: make('B', b, [out, rank]),
  };
  merge(adapter);
  return adapter;
}

/** The weight follows a and b; to be called when these have changed. */
export function merge({ base, merged, a, b, scale }: Adapter): void {
  const size = matrixOf(base.shape);
  loraMerge({ base: base.reshape(size), a: a.weight, b: b.weight, merged: merged.reshape(size), scale });
}

/** Adds a change to a weight for good. */
export function mergeForever(parameter: Parameter, values: LoraValues, rankAndScale: { rank: number; scale: number }) {
  const { base, a, b } = adapt(parameter, values, rankAndScale);
  for (const tensor of [base, a.weight, b.weight]) tensor.dispose();
}
