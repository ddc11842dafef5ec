import { paintIn, plainLine, truncate, type Paint } from './displayText.ts';

/** What a terminal needs of a stream: `process.stdout` has it. */
export interface Screen {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
  on?(event: 'resize', listener: () => void): unknown;
  off?(event: 'resize', listener: () => void): unknown;
}

export interface Terminal {
  /** Lines that stay. */
  print(text: string): void;
  /**
   * What is going on now. On a terminal it is one live line below everything else, cut to the width of the window; elsewhere a
   * line that stays, and not more than one in `everyMs`.
   */
  status(text: string, everyMs?: number): void;
  /** Takes the live line away. */
  close(): void;
  readonly paint: Paint;
  /** whether the status is a live line */
  readonly live: boolean;
}

const CLEAR_LINE = '\r\u001b[2K';

/** A terminal on a stream. Colours are used only if it is one and `color` allows them. */
export function createTerminal(screen: Screen, { color = true, now = Date.now } = {}): Terminal {
  const live = screen.isTTY === true;
  let status = '';
  let lastPlain = -Infinity;
  // the last column stays free: some terminals wrap as soon as it is filled
  const draw = () => screen.write(CLEAR_LINE + truncate(status, Math.max(1, screen.columns ?? 80) - 1));
  const redraw = () => void (status !== '' && draw());
  if (live) screen.on?.('resize', redraw);
  return {
    live,
    paint: paintIn(live && color),
    print(text) {
      screen.write(status === '' ? `${text}\n` : `${CLEAR_LINE}${text}\n`);
      if (status !== '') draw();
    },
    status(text, everyMs = 0) {
      const line = plainLine(text);
      if (live) {
        status = line;
        draw();
      } else if (now() - lastPlain >= everyMs) {
        lastPlain = now();
        screen.write(`${line}\n`);
      }
    },
    close() {
      if (status !== '') screen.write(CLEAR_LINE);
      status = '';
      screen.off?.('resize', redraw);
    },
  };
}
