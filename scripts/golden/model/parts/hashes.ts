import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint } from '../../../../lib/index.ts';
import { MissingCapability, type Checks } from '../checks.ts';
import type { ModelFolder } from '../modelFolder.ts';
import { onlyKeys, sha256 } from '../values.ts';

interface GoldenHashes {
  command?: string;
  files: Record<string, string>;
  tensors?: Record<string, string>;
}

/** `hashes.json`: the weight files that we write, byte by byte, and the tensors that we read from them. */
export async function hashes(folder: ModelFolder, file: string, checks: Checks): Promise<void> {
  for (const [name, golden] of Object.entries(folder.json<Record<string, GoldenHashes>>(file)))
    await checks.run(name, async (check) => {
      onlyKeys(name, golden, ['command', 'files', 'tensors']);
      const { preset, maxShardBytes } = optionsOf(golden.command ?? '', name);
      const dir = await folder.written(preset, name, maxShardBytes === undefined ? {} : { maxShardBytes });
      const files = readdirSync(dir).filter((each) => each.endsWith('.safetensors')).sort(); // prettier-ignore
      check.same('files', Object.keys(golden.files).toSorted(), files);
      for (const each of files) check.same(`files.${each}`, golden.files[each], sha256(readFileSync(join(dir, each))));
      const checkpoint = await openCheckpoint(dir);
      if (golden.tensors) check.same('tensors', Object.keys(golden.tensors).toSorted(), [...checkpoint.tensors.keys()].toSorted()); // prettier-ignore
      for (const [tensor, hash] of Object.entries(golden.tensors ?? {}))
        check.same(`tensors.${tensor}`, hash, sha256(await checkpoint.readBytes(tensor)));
      const index = `checkpoints/${preset}/model.safetensors.index.sharded.json`;
      if (files.length > 1 && folder.has(index)) {
        const written = JSON.parse(readFileSync(join(dir, 'model.safetensors.index.json'), 'utf8')) as unknown;
        check.same(index, folder.json(index), written);
      }
    });
}

/** What the command of `write_checkpoint.py` asks for. */
function optionsOf(command: string, name: string): { preset: string; maxShardBytes: number | undefined } {
  const words = command.split(' ').filter(Boolean);
  const options = new Map<string, string>();
  for (let i = 0; i < words.length; i += 2) options.set(words[i]!, words[i + 1] ?? '');
  onlyKeys('command', Object.fromEntries(options), ['--preset', '--max-shard-bytes', '--weights', '--seed']);
  const weights = options.get('--weights') ?? 'fnv';
  if (weights !== 'fnv')
    throw new MissingCapability(`weights by --weights ${weights}: they are drawn by numpy's generator`);
  const limit = options.get('--max-shard-bytes');
  return { preset: options.get('--preset') ?? name, maxShardBytes: limit === undefined ? undefined : Number(limit) };
}
