/** Who may import whom, as the house draws it. */

/** Rooms of csrc from left to right: a room may include itself and what stands to its right. */
const NATIVE_ROOMS = ['binding', 'model', 'ops', 'backends', 'collectives', 'core'];
/** Rooms of lib from left to right. */
const ROOMS = [
  ...['cli', 'train', 'eval', 'serve', 'hub'],
  ...['rollout', 'algorithms', 'rewards', 'data', 'report'],
  ...['model', 'kernels', 'runtime'],
];
/** Rooms that may use less than what stands to their right. */
const NARROW: Record<string, readonly string[]> = { algorithms: ['kernels', 'runtime'], rewards: [], report: [] };
/** Open to every room of lib. */
const OPEN = ['lib/types.ts', 'lib/runtime/errors.ts'];

/** Why a file of lib must not import another, or undefined if it may. Paths start at the checkout. */
export function badImport(from: string, to: string): string | undefined {
  if (OPEN.includes(to) || from === 'lib/index.ts') return undefined;
  const [room, other] = [roomOf(from), roomOf(to)];
  if (from === 'lib/types.ts' || from === 'lib/runtime/errors.ts') return `${from} imports nothing of ours`;
  if (room === other) return undefined;
  if (!ROOMS.includes(room)) return `${from}: ${room} is no room of the house`;
  if (to === 'lib/index.ts') return 'lib/index.ts is for those outside';
  const allowed = NARROW[room] ?? ROOMS.slice(ROOMS.indexOf(room) + 1);
  return allowed.includes(other) ? undefined : `${room} must not import ${other}`;
}

/** Why a file of csrc must not include another, or undefined if it may. */
export function badInclude(from: string, to: string): string | undefined {
  if (/\.(cpp|cu)$/.test(to)) return 'a source file is compiled, never included';
  const [room, other] = [roomOf(from), roomOf(to)];
  if (room === other && (room !== 'backends' || backendOf(from) === backendOf(to))) return undefined;
  if (room === other) return 'a backend must not include another backend';
  if (room === 'host') return other === 'core' ? undefined : `host must not include ${other}`;
  if (other === 'host') return room === 'binding' ? undefined : `${room} must not include host`;
  if (!NATIVE_ROOMS.includes(room)) return `${from}: ${room} is no room of the house`;
  const right = NATIVE_ROOMS.slice(NATIVE_ROOMS.indexOf(room) + 1);
  return right.includes(other) ? undefined : `${room} must not include ${other}`;
}

const roomOf = (path: string): string => path.split('/')[1]!;
const backendOf = (path: string): string => path.split('/')[2]!;
