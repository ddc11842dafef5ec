import type { Tokenizer } from '../../../../lib/index.ts';
import type { Checks } from '../checks.ts';
import type { ModelFolder } from '../modelFolder.ts';
import { onlyKeys } from '../values.ts';

interface GoldenTokenizer {
  checkpoints: string[];
  strings: {
    text: string;
    nfc_changes: boolean;
    ids: Record<string, number[]>;
    decoded: string;
    decoded_skip_special?: string;
    pretokens?: string[];
  }[];
  decode_only: { checkpoint: string; ids: number[]; decoded: string; decoded_skip_special: string }[];
}

/** `cases/tokenizer.json`: text to ids and back, whole and token by token. */
export async function tokenizer(folder: ModelFolder, file: string, checks: Checks): Promise<void> {
  const golden = folder.json<GoldenTokenizer>(file);
  await checks.run('file', (check) => {
    onlyKeys(file, golden, ['note', 'checkpoints', 'pretokenized_regex', 'strings', 'decode_only']);
    check.same('strings', golden.strings.length > 0, true);
  });
  for (const [k, string] of golden.strings.entries())
    await checks.run(`string ${k}`, async (check) => {
      onlyKeys('string', string, ['text', 'nfc_changes', 'ids', 'decoded', 'decoded_skip_special', 'pretokens']);
      const { text, nfc_changes, ids, decoded, decoded_skip_special: skipped = decoded, pretokens } = string;
      check.same('nfc_changes', nfc_changes, text.normalize('NFC') !== text);
      check.same('ids: checkpoints', Object.keys(ids), golden.checkpoints);
      if (pretokens) check.same('pretokens', pretokens.join(''), text.normalize('NFC'));
      for (const [checkpoint, wanted] of Object.entries(ids)) {
        const ours = await folder.tokenizer(checkpoint);
        check.same(`ids.${checkpoint}`, wanted, ours.encode(text));
        // no token goes over the end of a piece
        const pieces = pretokens?.flatMap((piece) => [...ours.encode(piece)]);
        if (pieces) check.same(`ids.${checkpoint} of the pretokens`, wanted, pieces);
        check.same(`decoded by ${checkpoint}`, decoded, ours.decode(wanted));
        check.same(`decoded_skip_special by ${checkpoint}`, skipped, ours.decode(wanted, { skipSpecial: true }));
      }
    });
  for (const [k, { checkpoint, ids, decoded, decoded_skip_special }] of golden.decode_only.entries())
    await checks.run(`decode only ${k}`, async (check) => {
      const ours = await folder.tokenizer(checkpoint);
      for (const [name, wanted, skipSpecial] of [
        ['decoded', decoded, false],
        ['decoded_skip_special', decoded_skip_special, true],
      ] as const) {
        check.same(name, wanted, ours.decode(ids, { skipSpecial }));
        check.same(`${name}, token by token`, wanted, streamed(ours, ids, skipSpecial));
      }
    });
}

function streamed(tokenizer: Tokenizer, ids: readonly number[], skipSpecial: boolean): string {
  const stream = tokenizer.stream({ skipSpecial });
  return ids.map((id) => stream.push(id)).join('') + stream.end();
}
