import { add, decimal, divide, multiply, power, rational, real, toReal, type Value } from './mathValue.ts';

type Evaluate = (variable: (name: string) => number) => Value;

/** An expression that can be evaluated: closed if `variables` is empty. */
export interface Expression {
  variables: ReadonlySet<string>;
  at: Evaluate;
}

const FUNCTIONS: Record<string, (x: number) => number> = {
  sin: Math.sin,
  cos: Math.cos,
  tan: Math.tan,
  cot: (x) => 1 / Math.tan(x),
  sec: (x) => 1 / Math.cos(x),
  csc: (x) => 1 / Math.sin(x),
  arcsin: Math.asin,
  arccos: Math.acos,
  arctan: Math.atan,
  asin: Math.asin,
  acos: Math.acos,
  atan: Math.atan,
  sinh: Math.sinh,
  cosh: Math.cosh,
  tanh: Math.tanh,
  ln: Math.log,
  log: Math.log10,
  exp: Math.exp,
  abs: Math.abs,
};
const CONSTANTS: Record<string, number> = {
  pi: Math.PI,
  e: Math.E,
  infty: Infinity,
  inf: Infinity,
  infinity: Infinity,
};
const GREEK = new Set(
  (
    'alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau upsilon phi ' +
    'varphi chi psi omega'
  ).split(' '),
);
const MAX_LENGTH = 2000;
const MAX_DEPTH = 100;

/**
 * The expression a normalised text spells, or undefined if it is not one.
 *
 * Letters side by side multiply, but three of them are taken for a word, not for a product.
 */
export function parseExpression(text: string): Expression | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  const parser = new Parser(text);
  try {
    const at = parser.whole();
    return { variables: parser.variables, at };
  } catch (error) {
    if (error instanceof NotMath) return undefined;
    throw error;
  }
}

class NotMath extends Error {}

class Parser {
  readonly variables = new Set<string>();
  private at = 0;
  private depth = 0;
  private readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  whole(): Evaluate {
    const value = this.sum();
    if (this.peek() !== '') throw new NotMath();
    return value;
  }

  private sum(): Evaluate {
    if (++this.depth > MAX_DEPTH) throw new NotMath();
    let value = this.product();
    for (let op = this.peek(); op === '+' || op === '-'; op = this.peek()) {
      this.at++;
      const [left, right] = [value, this.product()];
      value = op === '+' ? (v) => add(left(v), right(v)) : (v) => add(left(v), negative(right(v)));
    }
    this.depth--;
    return value;
  }

  private product(): Evaluate {
    let value = this.signed();
    for (;;) {
      const left = value;
      if (this.take('*')) {
        const right = this.signed();
        value = (v) => multiply(left(v), right(v));
      } else if (this.take('/')) {
        const right = this.signed();
        value = (v) => divide(left(v), right(v));
      } else if (this.startsFactor()) {
        const right = this.power();
        value = (v) => multiply(left(v), right(v));
      } else return value;
    }
  }

  private signed(): Evaluate {
    if (this.take('+')) return this.nested(() => this.signed());
    if (!this.take('-')) return this.power();
    const value = this.nested(() => this.signed());
    return (v) => negative(value(v));
  }

  private power(): Evaluate {
    const base = this.postfix();
    if (!this.take('^') && !this.take('**')) return base;
    const exponent = this.nested(() => (this.peek() === '{' ? this.group() : this.signed()));
    return (v) => power(base(v), exponent(v));
  }

  private postfix(): Evaluate {
    const value = this.primary();
    if (!this.take('!')) return value;
    return (v) => factorial(value(v));
  }

  private primary(): Evaluate {
    const c = this.peek();
    if (/[\d.]/.test(c)) return this.number();
    if (c === '(' || c === '{' || c === '[') return this.group();
    if (c === '|') return this.absolute();
    if (c === '\\' || /[A-Za-z]/.test(c)) return this.word();
    throw new NotMath();
  }

  private number(): Evaluate {
    const digits = this.match(/\d+(?:\.\d*)?|\.\d+/y);
    if (digits === undefined || digits.length > 300) throw new NotMath();
    const mixed = /^\d+$/.test(digits) ? this.mixedPart() : undefined;
    const scientific = mixed ? undefined : this.match(/[eE][+-]?\d{1,3}(?![\d.])/y);
    let value = decimal(digits);
    if (scientific)
      value = multiply(value, power(rational(10n), rational(BigInt(scientific.slice(1).replace('+', '')))));
    if (mixed) value = add(value, mixed);
    else if (/[\d.]/.test(this.peek())) throw new NotMath();
    return () => value;
  }

  /** The fraction of a mixed number such as "1 1/2". */
  private mixedPart(): Value | undefined {
    const found =
      this.match(/\s*\\frac\s*\{\s*\d+\s*\}\s*\{\s*\d+\s*\}(?!\s*\^)/y) ??
      this.match(/\s*\\frac\s*\d\s*\d(?!\s*\^)/y) ??
      this.match(/\s+\d+\s*\/\s*\d+(?![\d.])/y);
    if (found === undefined) return undefined;
    const [n, d] = /^\s*\\frac\s*\d/.test(found) ? found.match(/\d/g)! : found.match(/\d+/g)!;
    return rational(BigInt(n!), BigInt(d!));
  }

  private group(): Evaluate {
    const close = { '(': ')', '{': '}', '[': ']' }[this.peek()];
    if (close === undefined) throw new NotMath();
    this.at++;
    const value = this.sum();
    if (!this.take(close)) throw new NotMath();
    return value;
  }

  private absolute(): Evaluate {
    this.at++;
    const value = this.sum();
    if (!this.take('|')) throw new NotMath();
    return (v) => magnitude(value(v));
  }

  private word(): Evaluate {
    const name = this.match(/\\[A-Za-z]+|[A-Za-z]+/y);
    if (name === undefined) throw new NotMath();
    const bare = name.replace('\\', '');
    if (bare === 'frac') return this.fraction();
    if (bare === 'sqrt') return this.root(name === bare);
    if (Object.hasOwn(FUNCTIONS, bare)) return this.call(bare);
    if (Object.hasOwn(CONSTANTS, bare)) return () => CONSTANTS[bare]!;
    if (GREEK.has(bare)) return this.variable(bare);
    if (name.startsWith('\\') || bare.length > 2) throw new NotMath();
    if (bare.length === 1) return this.variable(bare);
    this.at--; // two letters: the first is one factor, the second is read again as the next
    return this.variable(bare[0]!);
  }

  private variable(letter: string): Evaluate {
    const subscript = this.match(/_(?:\{[A-Za-z0-9]+\}|[A-Za-z0-9])/y) ?? '';
    const name = letter + subscript.replace(/[{}]/g, '');
    this.variables.add(name);
    return (v) => v(name);
  }

  private fraction(): Evaluate {
    const [over, under] = [this.argument(), this.argument()];
    return (v) => divide(over(v), under(v));
  }

  private root(plain: boolean): Evaluate {
    let degree: Evaluate = () => rational(2n);
    if (this.peek() === '[') degree = this.group();
    const value = plain && /[\d.]/.test(this.peek()) ? this.number() : this.argument();
    return (v) => power(value(v), divide(rational(1n), degree(v)));
  }

  /** What follows `\frac` or `\sqrt`: a group, or one digit (as in `\frac12`) or symbol. */
  private argument(): Evaluate {
    const c = this.peek();
    if (c === '{' || c === '(') return this.nested(() => this.group());
    const digit = this.match(/\d/y);
    if (digit !== undefined) return () => rational(BigInt(digit));
    return this.nested(() => this.primary());
  }

  private call(name: string): Evaluate {
    const base = name === 'log' && this.take('_') ? this.argument() : undefined;
    const inverse = this.match(/\^\s*(?:\{\s*-\s*1\s*\}|-\s*1)/y) !== undefined;
    if (inverse && !Object.hasOwn(FUNCTIONS, `arc${name}`)) throw new NotMath();
    const exponent = this.take('^') ? this.argumentOrSigned() : undefined;
    const input = this.nested(() => (this.peek() === '(' || this.peek() === '{' ? this.group() : this.plainProduct()));
    const f = FUNCTIONS[inverse ? `arc${name}` : name]!;
    return (v) => {
      if (name === 'abs') return magnitude(input(v));
      const value = base
        ? real((x, b) => Math.log(x!) / Math.log(b!), input(v), base(v))
        : real(f as () => number, input(v));
      return exponent ? power(value, exponent(v)) : value;
    };
  }

  private argumentOrSigned(): Evaluate {
    return this.peek() === '-' ? this.signed() : this.argument();
  }

  /** An argument without brackets, as in sin 2x. */
  private plainProduct(): Evaluate {
    let value = this.power();
    while (this.startsFactor() && !this.startsFunction()) {
      const [left, right] = [value, this.power()];
      value = (v) => multiply(left(v), right(v));
    }
    return value;
  }

  private startsFactor(): boolean {
    const c = this.peek();
    return c !== '' && (/[({[A-Za-z\\]/.test(c) || (/\d/.test(c) && ')}'.includes(this.text[this.at - 1] ?? ' ')));
  }

  private startsFunction(): boolean {
    const word = /^\\?([A-Za-z]+)/.exec(this.text.slice(this.at))?.[1];
    return word !== undefined && Object.hasOwn(FUNCTIONS, word);
  }

  private nested(parse: () => Evaluate): Evaluate {
    if (++this.depth > MAX_DEPTH) throw new NotMath();
    const value = parse();
    this.depth--;
    return value;
  }

  private peek(): string {
    while (this.text[this.at] === ' ') this.at++;
    return this.text[this.at] ?? '';
  }

  private take(symbol: string): boolean {
    this.peek();
    if (!this.text.startsWith(symbol, this.at)) return false;
    this.at += symbol.length;
    return true;
  }

  private match(pattern: RegExp): string | undefined {
    if (!/^\\s/.test(pattern.source)) this.peek();
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0];
    if (found) this.at += found.length;
    return found;
  }
}

function negative(value: Value): Value {
  return typeof value === 'object' ? { n: -value.n, d: value.d } : -value;
}

function magnitude(value: Value): Value {
  return toReal(value) < 0 ? negative(value) : value;
}

function factorial(value: Value): Value {
  if (typeof value !== 'object' || value.d !== 1n || value.n < 0n || value.n > 500n) return NaN;
  let product = 1n;
  for (let k = 2n; k <= value.n; k++) product *= k;
  return rational(product);
}
