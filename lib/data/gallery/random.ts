/**
 * A seeded stream of numbers: the same labels give the same numbers on every machine.
 *
 * The state is 128 bits in four 32-bit words, mixed by additions, shifts and one rotation, so that every intermediate
 * value is an exact integer. The labels are hashed into the state; streams of different labels are unrelated.
 */
export class Random {
  readonly #state = new Int32Array(4);

  constructor(...labels: readonly (string | number)[]) {
    const text = JSON.stringify(labels);
    for (let word = 0; word < 4; word++) this.#state[word] = hash32(text, word);
    for (let i = 0; i < 16; i++) this.uint32();
  }

  /** The next 32 bits, in [0, 2³²). */
  uint32(): number {
    const state = this.#state;
    const [a, b, c, counter] = [state[0]!, state[1]!, state[2]!, state[3]!];
    const sum = (a + b + counter) | 0;
    state[0] = b ^ (b >>> 9);
    state[1] = (c + (c << 3)) | 0;
    state[2] = (((c << 21) | (c >>> 11)) + sum) | 0;
    state[3] = (counter + 1) | 0;
    return sum >>> 0;
  }

  /** In [0, 1). */
  uniform(): number {
    return this.uint32() / 2 ** 32;
  }

  /** An integer from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low + 1));
  }

  /** True with this probability. */
  chance(probability: number): boolean {
    return this.uniform() < probability;
  }

  /** One of `items`. */
  pick<T>(items: readonly T[]): T {
    return items[this.between(0, items.length - 1)]!;
  }

  /** `items` in another order. */
  shuffle<T>(items: readonly T[]): T[] {
    const order = [...items];
    for (let last = order.length - 1; last > 0; last--) {
      const other = this.between(0, last);
      [order[last], order[other]] = [order[other]!, order[last]!];
    }
    return order;
  }

  /** `count` different members of `items`, in random order. */
  sample<T>(items: readonly T[], count: number): T[] {
    return this.shuffle(items).slice(0, count);
  }
}

/** 32 bits of a text: multiply-and-xor over its code units, then an avalanche; `variant` gives unrelated functions. */
function hash32(text: string, variant: number): number {
  let hash = Math.imul(variant + 1, 0x9e3779b1);
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193 + 2 * variant);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39);
  return hash ^ (hash >>> 15);
}
