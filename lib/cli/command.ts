import type { Screen } from '../report/terminal.ts';
import type { Environment } from '../runtime/env.ts';
import type { Failure } from '../runtime/errors.ts';

/** An argument, as citty describes it, and what else is asked of its value. */
export interface Arg {
  type: 'positional' | 'string' | 'boolean';
  description: string;
  /** what stands for the value in the help */
  valueHint?: string;
  alias?: string;
  required?: boolean;
  default?: string;
  /** the value is a number: any, or a whole one */
  number?: 'real' | 'whole';
  /** what a number must be at least, above, and at most */
  least?: number;
  above?: number;
  most?: number;
  /** may be given more than once */
  multiple?: true;
}
export type Args = Record<string, Arg>;

type ValueOf<A extends Arg> = A extends { type: 'boolean' }
  ? boolean
  : A extends { multiple: true }
    ? string[]
    : | (A extends { number: string } ? number : string)
      | (A extends { required: true } | { default: string } ? never : undefined);
/** What was given, by the names of the arguments. */
export type Values<A extends Args> = { [K in keyof A]: ValueOf<A[K]> };

/** A change of the configuration: `rollout.temperature=0.7`. */
export interface Override {
  /** as it was given: the configuration knows the spellings */
  path: string;
  /** YAML */
  value: unknown;
}

/** What a command is given besides its arguments. */
export interface Io {
  /** what a command that reads is given */
  stdin?: AsyncIterable<Uint8Array | string>;
  stdout: Screen;
  stderr: Screen;
  environment: Environment;
  /** aborted when the user wants an end; a command that is `stoppable` is given the time to end well */
  signal: AbortSignal;
  /** is told of an error beside what is printed of it */
  onFailure?: (failure: Failure) => void;
}

export interface Command<A extends Args = Args> {
  description: string;
  args: A;
  /** lines behind the help */
  notes?: string;
  /** takes changes of the configuration: `a.b=v`, `--a.b=v`, `--a.b v` */
  overridable?: boolean;
  /** ends in order when the signal is aborted; others are ended at once */
  stoppable?: boolean;
  /** Returns the exit code. */
  run(values: Values<A>, io: Io, overrides: Override[]): Promise<number>;
}

/** A command, its values typed by its arguments. */
export const defineCommand = <const A extends Args>(command: Command<A>): Command => command as unknown as Command;

/** Commands by name, loaded when they are called for. */
export interface Group {
  description: string;
  commands: Record<string, () => Promise<Command | Group>>;
}
