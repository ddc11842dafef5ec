import { compare, type Bounds } from '../compare.ts';

/** What stands in files of golden data for a quantity that errors are measured in. */
export type Quantity =
  'logits' | 'log-probabilities' | 'entropies' | 'pixels' | 'vision' | 'losses' | 'gradients' | 'norms';

/** One thing that passes or fails as a whole: everything that was compared for it. */
export interface Check {
  name: string;
  /** numbers and texts */
  compared: number;
  /** the largest error by quantity, as a multiple of its bound */
  worst: Map<Quantity, { multiple: number; where: string }>;
  failures: string[];
  /** what the package cannot do yet, if that is why nothing was compared */
  missing?: string;
}

/** The package cannot do yet what a case asks. */
export class MissingCapability extends Error {}

const EXACT: Bounds = { rtol: 0, atol: 0 };

/** Compares for one check. */
export class Comparer {
  readonly check: Check;
  constructor(name: string) {
    this.check = { name, compared: 0, worst: new Map(), failures: [] };
  }

  /** Every number of what is wanted, within bounds. */
  near(where: string, wanted: unknown, came: unknown, bounds: Bounds, quantity: Quantity): void {
    const { worst } = this.check;
    const found = this.#compare(where, wanted, came, bounds);
    if (found.worst >= (worst.get(quantity)?.multiple ?? 0))
      worst.set(quantity, { multiple: found.worst, where: found.where });
  }

  /** Exactly. */
  same(where: string, wanted: unknown, came: unknown): void {
    this.#compare(where, wanted, came, EXACT);
  }

  fail(where: string, message: string): void {
    this.check.failures.push(`${where}: ${message}`);
  }

  #compare(where: string, wanted: unknown, came: unknown, bounds: Bounds) {
    const found = compare(wanted, came, bounds, 'f64', where);
    this.check.compared += found.compared;
    this.check.failures.push(...found.failures);
    return found;
  }
}

/** The checks of a file, in the order in which they were made. */
export class Checks {
  readonly done: Check[] = [];

  /** One check; an exception is its failure. */
  async run(name: string, body: (comparer: Comparer) => void | Promise<void>): Promise<void> {
    const comparer = new Comparer(name);
    try {
      await body(comparer);
      if (comparer.check.compared === 0) comparer.fail('case', 'wanted numbers to compare; came none');
    } catch (error) {
      if (error instanceof MissingCapability) comparer.check.missing = error.message;
      else comparer.fail('case', `wanted a result; came ${(error as Error).name}: ${(error as Error).message}`);
    }
    this.done.push(comparer.check);
  }
}
