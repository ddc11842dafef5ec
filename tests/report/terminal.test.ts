import { EventEmitter } from 'node:events';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { displayWidth, plainLine, truncate } from '../../lib/report/displayText.ts';
import { createTerminal } from '../../lib/report/terminal.ts';

/** A screen that understands line breaks, carriage return and the clearing of a line, and wraps like a window does. */
class Window extends EventEmitter {
  readonly isTTY: boolean;
  columns: number;
  written = '';
  constructor(isTTY: boolean, columns = 20) {
    super();
    this.isTTY = isTTY;
    this.columns = columns;
  }
  write(text: string): void {
    this.written += text;
  }
  get lines(): string[] {
    const lines = [''];
    for (const piece of this.written.split(/(\n|\r|\u001b\[2K)/)) {
      if (piece === '\n') lines.push('');
      else if (piece === '\u001b[2K') lines[lines.length - 1] = '';
      else if (piece !== '\r') lines[lines.length - 1] += piece;
    }
    return lines;
  }
}

describe('on a terminal', () => {
  it('the status is one line below what was printed', () => {
    const window = new Window(true);
    const terminal = createTerminal(window, { color: false });
    terminal.status('step 1');
    terminal.print('a table\nof two lines');
    terminal.status('step 2');
    terminal.print('a note');
    expect(window.lines).toEqual(['a table', 'of two lines', 'a note', 'step 2']);
    terminal.close();
    expect(window.lines).toEqual(['a table', 'of two lines', 'a note', '']);
  });

  it('the status never wraps, and follows the width of the window', () => {
    const window = new Window(true, 10);
    const terminal = createTerminal(window);
    terminal.status('step 1\nof 12345678');
    expect(window.lines).toEqual(['step 1 o…']);
    window.columns = 40;
    window.emit('resize');
    expect(window.lines).toEqual(['step 1 of 12345678']);
    terminal.close();
    expect(window.listenerCount('resize')).toBe(0);
  });

  it('colours are used, unless they are not wanted', () => {
    expect(createTerminal(new Window(true)).paint('red', 'x')).toBe('\u001b[31mx\u001b[39m');
    expect(createTerminal(new Window(true), { color: false }).paint('red', 'x')).toBe('x');
  });
});

describe('elsewhere', () => {
  it('every status is a line, without colours', () => {
    const file = new Window(false);
    const terminal = createTerminal(file);
    terminal.status('step 1');
    terminal.print(terminal.paint('red', 'note'));
    terminal.status('step 2 of a line that is longer than the window');
    terminal.close();
    expect(file.written).toBe('step 1\nnote\nstep 2 of a line that is longer than the window\n');
  });

  it('a status that changes often is written now and then', () => {
    const file = new Window(false);
    let time = 0;
    const terminal = createTerminal(file, { now: () => time });
    for (; time < 2500; time += 100) terminal.status(String(time), 1000);
    expect(file.written).toBe('0\n1000\n2000\n');
  });
});

describe('text', () => {
  it.each([
    ['plain', 5],
    ['né', 2],
    ['e\u0301', 1],
    ['汉字', 4],
    ['👩‍👩‍👧', 2],
    ['\u001b[31mred\u001b[39m', 3],
    ['', 0],
  ])('%j takes %i columns', (text, width) => expect(displayWidth(text)).toBe(width));

  it('is cut between signs', () => {
    expect(truncate('汉字汉字', 6)).toBe('汉字…');
    expect(truncate('汉字汉字', 8)).toBe('汉字汉字');
    expect(truncate('👩‍👩‍👧👩‍👩‍👧', 3)).toBe('👩‍👩‍👧…');
    expect(truncate('abc', 0)).toBe('');
  });

  it('never takes more columns than there are', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.nat(30), (text, columns) => {
        expect(displayWidth(truncate(plainLine(text), columns))).toBeLessThanOrEqual(columns);
      }),
    );
  });

  it('of unknown origin cannot command the terminal', () => {
    expect(plainLine('a\u001b[2Jb\r\nc\u0007\u0085d')).toBe('ab c d');
  });
});
