/** Units after a number. Every spelling of a unit is a way to write the first one. */
const UNITS: string[][] = [
  ['mm', 'millimeter', 'millimetre'],
  ['cm', 'centimeter', 'centimetre'],
  ['dm', 'decimeter', 'decimetre'],
  ['m', 'meter', 'metre'],
  ['km', 'kilometer', 'kilometre'],
  ['in', 'inch', 'inches'],
  ['ft', 'foot', 'feet'],
  ['yd', 'yard'],
  ['mi', 'mile'],
  ['mg', 'milligram'],
  ['g', 'gram'],
  ['kg', 'kilogram'],
  ['lb', 'lbs', 'pound'],
  ['oz', 'ounce'],
  ['ms', 'millisecond'],
  ['s', 'sec', 'second'],
  ['min', 'minute'],
  ['h', 'hr', 'hour'],
  ['day'],
  ['week'],
  ['month'],
  ['year', 'yr'],
  ['ml', 'mL', 'milliliter', 'millilitre'],
  ['L', 'liter', 'litre'],
  ['gallon', 'gal'],
  ['degree', 'deg'],
  ['radian', 'rad'],
  ['unit'],
  ['dollar', 'usd', 'USD'],
  ['cent'],
  ['euro'],
  ['percent'],
  ['mph'],
  ['kph', 'kmh'],
  ['N', 'newton'],
  ['J', 'joule'],
  ['kJ', 'kilojoule'],
  ['W', 'watt'],
  ['kW', 'kilowatt'],
  ['V', 'volt'],
  ['A', 'ampere', 'amp'],
  ['Pa', 'pascal'],
  ['kPa', 'kilopascal'],
  ['Hz', 'hertz'],
  ['mol', 'mole'],
  ['K', 'kelvin'],
  ['people', 'person'],
  ['student'],
  ['time'],
  ['item'],
  ['point'],
];

const NAMES = new Map(UNITS.flatMap((spellings) => spellings.map((spelling) => [spelling, spellings[0]!] as const)));
const POWER = String.raw`(?:\s*\^\s*\{?\s*-?\d\s*\}?)?`;
const WORD = String.raw`(?:(?:square|cubic|sq\.?|cu\.?)\s+)?[A-Za-z]+` + POWER;
const TAIL = new RegExp(String.raw`^(.*[\d)}\]⟧.i])\s*(?<![A-Za-z])(${WORD}(?:\s*(?:/|\*|\s+per\s+|\s)\s*${WORD})*)$`);

/**
 * A value and the unit behind it in one spelling, e.g. "5 meters per second" → 5 and "m/s"; the unit is '' if the tail
 * is not made of known units. Single letters count too: whoever takes "5 m" for five times m has to ask first.
 */
export function splitUnit(text: string): { value: string; unit: string } {
  if (/.%$/.test(text)) return { value: text.slice(0, -1).trim(), unit: '%' };
  const match = TAIL.exec(text);
  const unit = match && canonicalUnit(match[2]!);
  return unit ? { value: match[1]!.trim(), unit: unit === 'percent' ? '%' : unit } : { value: text, unit: '' };
}

function canonicalUnit(tail: string): string | undefined {
  const parts: string[] = [];
  for (const [, prefix, word, power] of tail
    .replace(/\bper\b/g, '/')
    .matchAll(/(?:(square|cubic|sq\.?|cu\.?)\s+)?([A-Za-z]+|\/)(?:\s*\^\s*\{?\s*(-?\d))?/g)) {
    if (word === '/') {
      parts.push('/');
      continue;
    }
    const name = nameOf(word!);
    if (name === undefined) return undefined;
    const exponent = power ?? (prefix?.startsWith('sq') ? '2' : prefix?.startsWith('cu') ? '3' : '');
    parts.push(name + exponent);
  }
  return parts.join(' ').replaceAll(' / ', '/');
}

function nameOf(word: string): string | undefined {
  if (word.length === 1) return NAMES.get(word);
  const lower = word.toLowerCase();
  return NAMES.get(word) ?? NAMES.get(lower) ?? NAMES.get(lower.replace(/s$/, ''));
}
