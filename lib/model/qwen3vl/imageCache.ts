/** Pictures or videos by key, the least recently used forgotten first. One being made is shared by all who ask for it. */
export class ImageCache<Entry extends { pixels: Uint8Array }> {
  readonly #limitBytes: number;
  readonly #entries = new Map<string, Promise<Entry>>();
  readonly #bytes = new Map<string, number>();
  #usedBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get(key: string, make: () => Promise<Entry>): Promise<Entry> {
    const entry = this.#entries.get(key) ?? this.#make(key, make);
    this.#entries.delete(key);
    this.#entries.set(key, entry); // youngest again
    return entry;
  }

  #make(key: string, make: () => Promise<Entry>): Promise<Entry> {
    const entry = make();
    entry.then(
      ({ pixels }) => {
        this.#bytes.set(key, pixels.length);
        this.#usedBytes += pixels.length;
        this.#forgetOldest();
      },
      () => this.#entries.delete(key),
    );
    return entry;
  }

  #forgetOldest(): void {
    for (const key of this.#entries.keys()) {
      if (this.#usedBytes <= this.#limitBytes) return;
      if (!this.#bytes.has(key)) continue; // still being made
      this.#usedBytes -= this.#bytes.get(key)!;
      this.#bytes.delete(key);
      this.#entries.delete(key);
    }
  }
}
