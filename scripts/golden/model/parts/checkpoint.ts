import type { Checks } from '../checks.ts';
import type { ModelFolder } from '../modelFolder.ts';

const RESAVED = 'config.resaved-5.18.json';

/** `checkpoints/<name>`: the configuration says the same in both spellings. */
export async function checkpoint(folder: ModelFolder, name: string, checks: Checks): Promise<void> {
  await checks.run('configuration', (check) => {
    const original = folder.config(name.split('/').at(-1)!);
    check.same('config.json', true, original.text.layers > 0);
    if (folder.has(`${name}/${RESAVED}`))
      check.same(RESAVED, folder.config(name.split('/').at(-1)!, RESAVED), original);
  });
}
