import type { Message } from '../../../lib/index.ts';

/** A number that is written as 2.0: a double, and so JSON.parse, cannot tell it from 2. */
class WrittenFloat extends Number {}
const MARK = '\u0000float ';

/** The value of a JSON text in which numbers such as 2.0 know that they are no integers. */
export function parseKeepingFloats(json: string): unknown {
  const marked = json.replaceAll(/"(?:[^"\\]|\\.)*"|-?\d+\.0+(?![\d.eE])/g, (token) =>
    token.startsWith('"') ? token : JSON.stringify(MARK + token),
  );
  return JSON.parse(marked, (_, value: unknown) =>
    typeof value === 'string' && value.startsWith(MARK) ? new WrittenFloat(value.slice(MARK.length)) : value,
  );
}

/** Messages whose calls have their arguments as text where a number among them is such a float, as the API asks for. */
export const withTextArguments = (messages: readonly Message[]): Message[] =>
  messages.map((message) => {
    const calls = message.tool_calls?.map((call) => {
      const { name, arguments: given } = 'function' in call ? call.function : call;
      const changed = { name, arguments: holdsFloat(given) ? pythonJson(given) : given };
      return 'function' in call ? { ...call, function: changed } : changed;
    });
    return { ...message, ...(calls && { tool_calls: calls }) };
  });

const holdsFloat = (value: unknown): boolean =>
  value instanceof WrittenFloat ||
  (typeof value === 'object' && value !== null && Object.values(value).some(holdsFloat));

/** JSON as Python writes it: a space behind commas and colons. */
function pythonJson(value: unknown): string {
  if (value instanceof WrittenFloat) return `${value.valueOf()}.0`;
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${pythonJson(each)}`).join(', ')}}`; // prettier-ignore
}
