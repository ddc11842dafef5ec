import type { GoldenCase, Real } from './case.ts';

/** A sort of cases, told by the names of its inputs. */
export interface Kind<Inputs = never> {
  name: string;
  /** what a case of it has, and all that it has but for a note */
  inputs: readonly (keyof Inputs & string)[];
  /** what it may have as well */
  optional?: readonly (keyof Inputs & string)[];
  /**
   * What our functions make of the inputs, by the names that files use. In f32 the numbers of the inputs are rounded already.
   *
   * @param expected  to be read only for what it asks: indices of a sample, a setting in a name
   */
  compute(
    inputs: Inputs,
    context: { real: Real; expected: Record<string, unknown> },
  ): Record<string, unknown> | Promise<Record<string, unknown>>;
}

export const defineKind = <Inputs>(kind: Kind<Inputs>): Kind => kind as unknown as Kind;

/** The kind whose inputs a case has. */
export function kindOf(kinds: readonly Kind[], { inputs }: GoldenCase): Kind | undefined {
  const given = Object.keys(inputs).filter((key) => key !== 'note');
  return kinds.find(({ inputs: needed, optional = [] }) => {
    const known: readonly string[] = [...needed, ...optional];
    return needed.every((key) => given.includes(key)) && given.every((key) => known.includes(key));
  });
}

/** Numbers in a list of the type that a case is computed in. */
export const reals = (values: ArrayLike<number>, real: Real): Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> =>
  real === 'f32' ? Float32Array.from(values) : Float64Array.from(values);
