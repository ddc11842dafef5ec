import { describe, expect, it } from 'vitest';
import type { Args } from '../../lib/cli/command.ts';
import { parse } from '../../lib/cli/parse.ts';
import { thrownBy } from '../support/thrown.ts';

const args: Args = {
  config: { type: 'positional', description: 'the file', required: true },
  'print-config': { type: 'boolean', description: 'print' },
  temperature: { type: 'string', number: 'real', description: 'how wild', default: '0.7' },
  n: { type: 'string', number: 'whole', description: 'how many' },
  image: { type: 'string', multiple: true, description: 'a picture', alias: 'i' },
};
const values = (...raw: string[]) => parse(raw, args).values;
const changes = (...raw: string[]) => parse(['run.yaml', ...raw], args, true).overrides;
const refusal = (...raw: string[]) => thrownBy(() => parse(raw, args)).message;

describe('options', () => {
  it('have their defaults', () => {
    expect(values('run.yaml')).toEqual({
      config: 'run.yaml',
      'print-config': false,
      temperature: 0.7,
      n: undefined,
      image: [],
    });
  });

  it.each([[['--print-config', 'run.yaml']], [['run.yaml', '--printConfig']], [['--print_config=true', 'run.yaml']]])(
    'are spelled in kebab, camel or snake case: %j',
    (raw) => expect(values(...raw)).toMatchObject({ config: 'run.yaml', 'print-config': true }),
  );

  it('take the next argument or what follows the sign, negative numbers too', () => {
    expect(values('x', '--temperature', '-1', '--n=8')).toMatchObject({ temperature: -1, n: 8 });
    expect(values('x', '--image=a=b.png', '-i', 'c.png').image).toEqual(['a=b.png', 'c.png']);
  });

  it.each([
    [['x', '--temprature', '1'], 'no option --temprature; did you mean --temperature?'],
    [['x', '--halp'], 'no option --halp; did you mean --help?'],
    [['x', '--zzzzzzzz'], 'no option --zzzzzzzz'],
    [['x', '-q'], 'no option -q'],
    [['x', '--config', 'y'], 'no option --config'],
    [['x', '--n'], '--n wants a value'],
    [['x', '--n', '--print-config'], '--n wants a value'],
    [['x', '--n', '1.5'], '--n must be a whole number; got 1.5'],
    [['x', '--temperature='], '--temperature must be a number; got '],
    [['x', '--n', '1', '--n', '2'], '--n was given 2 times'],
    [['x', '--print-config=yes'], '--print-config must be true or false; got yes'],
    [['x', 'y'], 'one argument too many: y'],
    [['x', 'n=3'], 'one argument too many: n=3'],
    [[], '<config> is missing: the file'],
  ])('%j is refused', (raw, message) => expect(refusal(...raw)).toBe(message));
});

describe('changes of the configuration', () => {
  it.each([
    [['rollout.temperature=0.7'], 'rollout.temperature', 0.7],
    [['--rollout.temperature=0.7'], 'rollout.temperature', 0.7],
    [['--rollout.temperature', '0.7'], 'rollout.temperature', 0.7],
    [['train.learningRate=1e-4'], 'train.learningRate', 1e-4],
    [['algorithm.clip_range={low: 0.2, high: 0.3}'], 'algorithm.clip_range', { low: 0.2, high: 0.3 }],
    [['data.shuffle=false'], 'data.shuffle', false],
    [['policy.dir=a=b'], 'policy.dir', 'a=b'],
    [['--seed', '-1'], 'seed', -1],
    [['--data.train="7"'], 'data.train', '7'],
    [['data.max-rows='], 'data.max-rows', null],
  ])('%j', (raw, path, value) => expect(changes(...raw)).toEqual([{ path, value }]));

  it('stand beside options and the file, in order', () => {
    const { values, overrides } = parse(['a=1', 'run.yaml', '--n', '2', '--b.c', '3', 'a=4'], args, true);
    expect(values).toMatchObject({ config: 'run.yaml', n: 2 });
    expect(overrides).toEqual([
      { path: 'a', value: 1 },
      { path: 'b.c', value: 3 },
      { path: 'a', value: 4 },
    ]);
  });

  it.each([
    [['--a.b'], '--a.b wants a value'],
    [['--print-confg'], '--print-confg wants a value; did you mean --print-config?'],
    [['a=[1,'], 'a: the value must be YAML; got [1,'],
    [['--a..b=1'], 'no option --a..b'],
  ])('%j is refused', (raw, message) =>
    expect(thrownBy(() => changes(...raw)).message.slice(0, message.length)).toBe(message),
  );
});
