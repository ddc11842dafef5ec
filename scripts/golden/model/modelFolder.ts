import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Policy, loadTokenizer, parseModelConfig, type ModelConfig, type Tokenizer } from '../../../lib/index.ts';
import { writeSynthetic } from './weights.ts';

/** A folder of golden data of a model, with what its files share: policies of its checkpoints, made when they are asked for. */
export class ModelFolder {
  readonly dir: string;
  readonly #scratch = mkdtempSync(join(tmpdir(), 'g2rpo-golden-'));
  #policy: { name: string; policy: Promise<Policy> } | undefined;
  readonly #tokenizers = new Map<string, Promise<Tokenizer>>();

  constructor(dir: string) {
    this.dir = dir;
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  has(name: string): boolean {
    return existsSync(this.path(name));
  }

  /** The content of a JSON file, as the caller says that it is. */
  json<T>(name: string): T {
    return JSON.parse(readFileSync(this.path(name), 'utf8')) as T;
  }

  config(checkpoint: string, file = 'config.json'): ModelConfig {
    const name = `checkpoints/${checkpoint}/${file}`;
    return parseModelConfig(this.json(name), name);
  }

  /** The one called last is kept: files are walked by checkpoint. */
  policy(checkpoint: string): Promise<Policy> {
    if (this.#policy?.name !== checkpoint) {
      void this.#policy?.policy.then((policy) => policy.dispose()).catch(() => undefined);
      this.#policy = { name: checkpoint, policy: this.written(checkpoint, checkpoint).then((dir) => Policy.load(dir)) };
    }
    return this.#policy.policy;
  }

  tokenizer(checkpoint: string): Promise<Tokenizer> {
    const found = this.#tokenizers.get(checkpoint) ?? loadTokenizer(this.path(`checkpoints/${checkpoint}`));
    this.#tokenizers.set(checkpoint, found);
    return found;
  }

  /** Writes a checkpoint with its golden weights into a folder of that name, and returns its path. */
  async written(checkpoint: string, as: string, options: { maxShardBytes?: number } = {}): Promise<string> {
    const dir = join(this.#scratch, as);
    if (!existsSync(dir))
      await writeSynthetic(dir, this.path(`checkpoints/${checkpoint}`), this.config(checkpoint), options);
    return dir;
  }

  /** Frees the policy and removes what was written. */
  async close(): Promise<void> {
    await this.#policy?.policy.then((policy) => policy.dispose()).catch(() => undefined);
    rmSync(this.#scratch, { recursive: true, force: true });
  }
}
