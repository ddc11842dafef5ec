import { paintIn } from '../../report/displayText.ts';
import { referenceText } from '../../report/configReference.ts';
import { nearestName } from '../../runtime/errors.ts';
import { SPELLING } from '../../train/aliases.ts';
import { CONFIGURATIONS, configKeys } from '../../train/configReference.ts';
import { camelCase } from '../../train/parseConfig.ts';
import { defineCommand } from '../command.ts';
import { usageError } from '../parse.ts';

const WIDTH = 100;

export const config = defineCommand({
  description: 'explain every key of a configuration',
  args: {
    keys: { type: 'positional', description: 'some keys, or groups of them; default all', multiple: true },
    of: {
      type: 'string',
      description: 'the command that reads it: train, sft or ablate',
      valueHint: 'NAME',
      default: 'train',
    },
  },
  notes:
    'Each with its default, what it does, what it may be, and where the default is from if it is not ours. The values of a file: train FILE --print-config.',
  async run({ keys: given, of }, { stdout, environment }) {
    const name = CONFIGURATIONS.find((each) => each === of);
    if (!name) throw usageError(`--of must be ${CONFIGURATIONS.join(', ')}; got ${of}`);
    const all = configKeys(name);
    const asked = given.map(ownSpelling);
    for (const each of asked) {
      if (all.some(({ key }) => isOf(key, each))) continue;
      const near = nearestName(each, all.map(({ key }) => key)); // prettier-ignore
      throw usageError(`${name} has no key ${each}${near ? `; did you mean ${near}?` : ''}`);
    }
    const shown = asked.length === 0 ? all : all.filter(({ key }) => asked.some((each) => isOf(key, each)));
    stdout.write(`${referenceText(shown, WIDTH, paintIn(stdout.isTTY === true && environment.color))}\n`);
    return 0;
  },
});

/** A key as we spell it. */
function ownSpelling(key: string): string {
  const camel = camelCase(key);
  return SPELLING.names.get(camel) ?? camel;
}

/** Whether a key is the one that was asked for, or stands in that group. */
const isOf = (key: string, asked: string): boolean =>
  key === asked || key.startsWith(`${asked}.`) || key.startsWith(`${asked}[`);
