import { renderUsage, type CommandDef } from 'citty';
import { createRequire } from 'node:module';
import { stripVTControlCharacters } from 'node:util';
import { G2rpoError, nearestName } from '../runtime/errors.ts';
import type { Command, Group, Io } from './command.ts';
import { commands } from './commands/index.ts';
import { EXIT } from './exit.ts';
import { parse, usageError } from './parse.ts';

export const version = (createRequire(import.meta.url)('../../package.json') as { version: string }).version;

/**
 * Runs a command line and tells how the process should end. Errors are printed, one readable line each; `G2RPO_DEBUG` adds
 * where they come from.
 *
 * @param onCommand  is shown the command before it runs
 */
export async function run(raw: readonly string[], io: Io, onCommand?: (command: Command) => void): Promise<number> {
  try {
    if (raw.length === 1 && (raw[0] === '--version' || raw[0] === '-v')) {
      io.stdout.write(`${version}\n`);
      return EXIT.ok;
    }
    const { name, command, rest } = await find(raw, 'g2rpo', commands);
    const asked = rest.includes('--help') || rest.includes('-h');
    if (asked || 'commands' in command) {
      const help = await helpOf(name, command, io);
      if (asked) io.stdout.write(help);
      else io.stderr.write(help);
      return asked ? EXIT.ok : EXIT.usage;
    }
    const { values, overrides } = parse(rest, command.args, command.overridable);
    onCommand?.(command);
    return await command.run(values as never, io, overrides);
  } catch (error) {
    return tell(error, io);
  }
}

/** The command that is named, as far as names go. */
async function find(
  raw: readonly string[],
  name: string,
  group: Group,
): Promise<{ name: string; command: Command | Group; rest: readonly string[] }> {
  const [first, ...rest] = raw;
  if (first === undefined || first === '--help' || first === '-h') return { name, command: group, rest: raw };
  const load = Object.hasOwn(group.commands, first) ? group.commands[first] : undefined;
  if (!load) {
    const near = nearestName(first, Object.keys(group.commands));
    const hint = near ? `did you mean ${near}?` : `there are ${Object.keys(group.commands).join(', ')}`;
    throw usageError(`${name} has no command ${first}; ${hint}`);
  }
  const command = await load();
  return 'commands' in command ? find(rest, `${name} ${first}`, command) : { name: `${name} ${first}`, command, rest };
}

/** Arguments as citty has them: it takes one without a flag as required unless told otherwise. */
const citty = (args: Command['args']) =>
  Object.fromEntries(
    Object.entries(args).map(([name, arg]) => [name, { ...arg, required: arg.required ?? false }]),
  ) as NonNullable<CommandDef['args']>;

async function helpOf(name: string, command: Command | Group, io: Io): Promise<string> {
  const meta = { name, version, description: command.description };
  const definition: CommandDef =
    'commands' in command
      ? { meta, subCommands: await describeAll(command) }
      : { meta: { ...meta }, args: citty(command.args) };
  const notes = 'commands' in command ? undefined : command.notes;
  const text = `${(await renderUsage(definition)).trimEnd()}\n${notes ? `\n${notes.trimEnd()}\n` : ''}`;
  const color = io.stdout.isTTY === true && io.environment.color;
  return (color ? text : stripVTControlCharacters(text)).replaceAll(/[ \t]+$/gm, '');
}

async function describeAll(group: Group): Promise<Record<string, CommandDef>> {
  const all = Object.entries(group.commands).map(async ([name, load]) => {
    const { description } = await load();
    return [name, { meta: { name, description } }] as const;
  });
  return Object.fromEntries(await Promise.all(all));
}

function tell(error: unknown, io: Io): number {
  const debug = io.environment.debug > 0;
  const ours = error instanceof G2rpoError;
  const code = ours ? error.code : io.signal.aborted ? 'ABORTED' : 'INTERNAL';
  const message = error instanceof Error ? error.message : String(error);
  io.onFailure?.({ code, message });
  const [first, ...more] = message.trimEnd().split('\n');
  io.stderr.write([`g2rpo: ${code}  ${first}`, ...more.map((line) => `  ${line}`)].join('\n') + '\n');
  if (debug && error instanceof Error) io.stderr.write(`${error.stack}\n`);
  else if (code === 'INTERNAL') io.stderr.write('  this is a mistake of ours; G2RPO_DEBUG=1 shows where\n');
  if (code === 'ABORTED') return EXIT.interrupted;
  return ours && (code === 'INVALID_CONFIG' || error.details['commandLine'] === true) ? EXIT.usage : EXIT.failed;
}
