/** Reading mathematical answers as text: one spelling for many, before anything is computed. */

const SYMBOLS: [RegExp, string][] = [
  [/[−–—]/g, '-'],
  [/[×·∙⋅]|\\(?:times|cdot|ast)(?![a-zA-Z])/g, '*'],
  [/÷|\\div(?![a-zA-Z])/g, '/'],
  [/π/g, '\\pi '],
  [/∞/g, '\\infty '],
  [/√/g, 'sqrt '],
  [/²/g, '^2'],
  [/³/g, '^3'],
  [/½/g, '\\frac{1}{2}'],
  [/¼/g, '\\frac{1}{4}'],
  [/¾/g, '\\frac{3}{4}'],
  [/≤|\\leq?(?:slant)?(?![a-zA-Z])/g, '<='],
  [/≥|\\geq?(?:slant)?(?![a-zA-Z])/g, '>='],
  [/≠|\\neq?(?![a-zA-Z])/g, '!='],
  [/\\lt(?![a-zA-Z])/g, '<'],
  [/\\gt(?![a-zA-Z])/g, '>'],
  [/≈|\\approx(?![a-zA-Z])/g, '='],
  [/±|\\pm(?![a-zA-Z])/g, '±'],
  [/∪|\\cup(?![a-zA-Z])/g, '∪'],
  [/∈|\\in(?![a-zA-Z])/g, '∈'],
];

/** One spelling: no math delimiters, no spacing commands, no font commands; `⟦ ⟧` stand for the braces of a set. */
export function normaliseMath(text: string): string {
  let s = (lastBoxed(text) ?? text).trim();
  s = s.replace(/\*\*/g, '').replace(/\\[()[\]]|\\?\$|[€£]/g, ' ');
  s = s.replace(/\\(?:begin|end)\{[a-z]*matrix\}/g, (m) => (m.startsWith('\\b') ? '(' : ')'));
  if (/\\\\/.test(s)) s = s.replace(/\(([^()]*)\)/g, (_, rows: string) => matrix(rows));
  s = s.replace(/\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits)(?![a-zA-Z])\.?/g, '');
  s = s
    .replace(/\{,\}/g, '')
    .replace(/\\!/g, '')
    .replace(/\\[,;: ]|\\q?quad(?![a-zA-Z])|~/g, ' ');
  s = s.replace(/\\[dtc]frac(?![a-zA-Z])/g, '\\frac');
  s = s.replace(/\\(?:text|textbf|textit|mathrm|mathbf|mathit|mbox|operatorname)\s*\{([^{}]*)\}/g, ' $1 ');
  s = s.replace(/\\%/g, '%').replace(/\^\s*\{?\s*\\circ\s*\}?|\\degree(?![a-zA-Z])|°/g, ' degrees ');
  s = s
    .replace(/\\\{/g, '⟦')
    .replace(/\\\}/g, '⟧')
    .replace(/\\langle/g, '(')
    .replace(/\\rangle/g, ')');
  for (const [symbol, spelling] of SYMBOLS) s = s.replace(symbol, spelling);
  s = s
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/(?<=.)[.,;]$/, '')
    .trim();
  return /^\{.*\}$/.test(s) && closes(s, 0) === s.length - 1 ? `⟦${s.slice(1, -1)}⟧` : s;
}

/** The inside of the last `\boxed{…}`, or undefined without one. */
export function lastBoxed(text: string): string | undefined {
  const start = text.lastIndexOf('\\boxed{');
  if (start < 0) return undefined;
  const open = start + '\\boxed'.length;
  const close = closes(text, open);
  return close < 0 ? undefined : text.slice(open + 1, close).trim();
}

/** Where the bracket at `open` is closed, whatever the kind of bracket (`[1, 2)` is an interval); −1 if nowhere. */
export function closes(text: string, open: number): number {
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    if ('([{⟦'.includes(text[i]!)) depth++;
    else if (')]}⟧'.includes(text[i]!) && --depth === 0) return i;
  }
  return -1;
}

/** The parts of a text between separators that stand outside all brackets. */
export function splitOutside(text: string, separator: RegExp): string[] {
  const sticky = new RegExp(separator.source, 'y');
  const parts: string[] = [];
  let [start, depth] = [0, 0];
  for (let i = 0; i < text.length; i++) {
    if ('([{⟦'.includes(text[i]!)) depth++;
    else if (')]}⟧'.includes(text[i]!)) depth--;
    if (depth > 0) continue;
    sticky.lastIndex = i;
    const match = sticky.exec(text);
    if (!match?.[0]) continue;
    parts.push(text.slice(start, i).trim());
    start = i + match[0].length;
    i = start - 1;
  }
  return [...parts, text.slice(start).trim()];
}

/** "12,345,678" → "12345678", outside brackets only: inside them a comma may part two elements. */
export function dropThousands(text: string): string {
  const number = /(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])/g;
  return text.replace(number, (match, at: number) => {
    const before = text.slice(0, at);
    const depth = (before.match(/[([{⟦]/g) ?? []).length - (before.match(/[)\]}⟧]/g) ?? []).length;
    return depth === 0 ? match.replaceAll(',', '') : match;
  });
}

function matrix(rows: string): string {
  return `(${rows
    .split('\\\\')
    .filter((row) => row.trim() !== '')
    .map((row) => `(${row.replaceAll('&', ',')})`)
    .join(',')})`;
}
