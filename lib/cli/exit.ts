/** Exit codes: nothing wrong; refused or failed; the command line or the configuration is wrong; stopped by the user. */
export const EXIT = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;
