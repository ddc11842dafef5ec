import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';

/** What of a device can fail when it is asked for. */
export type Fault = 'allocations' | 'launches' | 'losses';

const PLACE: Record<Fault, number> = { allocations: 0, launches: 2, losses: 5 };
const PIECES = 4;

/**
 * The file in which the emulated device counts what it is asked for, and looks up which of it is to fail (tests/cuda/emulator/runtime.cpp).
 * To be written while nothing is under way.
 */
export class EmulatedFaults {
  readonly #file: number;

  constructor(path: string) {
    this.#file = openSync(path, 'w+');
    ftruncateSync(this.#file, 7 * 8);
  }

  /** Counts from zero; the `at`-th of a kind fails, none if it is 0. Of launches as `losses` all that comes after fails too, for good. */
  begin(kind: Fault, at = 0): void {
    for (const each of Object.keys(PLACE) as Fault[]) this.#write(PLACE[each], 0, each === kind ? at : 0);
  }
  asked(kind: Fault): number {
    return this.#read(PLACE[kind]);
  }
  /** of the device's memory that are allocated */
  get pieces(): number {
    return this.#read(PIECES);
  }
  close(): void {
    closeSync(this.#file);
  }

  #write(place: number, ...values: number[]): void {
    const words = BigInt64Array.from(values, BigInt);
    writeSync(this.#file, words, 0, words.byteLength, 8 * place);
  }
  #read(place: number): number {
    const word = new BigInt64Array(1);
    readSync(this.#file, word, 0, 8, 8 * place);
    return Number(word[0]);
  }
}
