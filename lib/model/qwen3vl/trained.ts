import { G2rpoError, nearestName } from '../../runtime/errors.ts';

/** Which parameters are trained, by patterns of their names; `*` stands for any text. All of them where neither is given. */
export interface TrainedNames {
  /** these are not */
  freeze?: readonly string[] | undefined;
  /** these alone are */
  only?: readonly string[] | undefined;
}

/** Whether a pattern is a whole name; `*` stands for any text, dots too. */
export function matchesName(pattern: string, name: string): boolean {
  const [first = '', ...others] = pattern.split('*');
  const last = others.pop();
  if (last === undefined) return name === first;
  if (!name.startsWith(first)) return false;
  // every text between two stars as early as it can be: what follows then has the most room
  let at = first.length;
  for (const part of others) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return name.length - last.length >= at && name.endsWith(last);
}

/**
 * The names that are trained, of all names of a policy.
 *
 * @throws INVALID_CONFIG  both lists are given; a pattern is the name of no parameter; nothing is left to train
 */
export function trainedNames(names: readonly string[], { freeze, only }: TrainedNames): Set<string> {
  if (freeze && only)
    throw new G2rpoError('INVALID_CONFIG', 'freeze and only say the same from two sides; give one of them');
  for (const [list, patterns] of Object.entries({ freeze, only }))
    for (const pattern of patterns ?? []) {
      if (names.some((name) => matchesName(pattern, name))) continue;
      const near = nearestName(pattern, pattern.includes('*') ? prefixesOf(names) : names);
      throw new G2rpoError(
        'INVALID_CONFIG',
        `train.${list}: ${JSON.stringify(pattern)} is the name of no parameter${near ? `; did you mean ${near}?` : ''}`,
        { pattern },
      );
    }
  const listed = (name: string) => (freeze ?? only ?? []).some((pattern) => matchesName(pattern, name));
  const trained = new Set(names.filter((name) => (only ? listed(name) : !listed(name))));
  if (trained.size === 0)
    throw new G2rpoError('INVALID_CONFIG', 'train.freeze names every parameter: nothing is left to train');
  return trained;
}

/** `model.*`, `model.visual.*` and so on: what a pattern is likely to have meant. */
const prefixesOf = (names: readonly string[]): Set<string> =>
  new Set(
    names.flatMap((name) => {
      const parts = name.split('.');
      return parts.map((_, n) => `${parts.slice(0, n + 1).join('.')}.*`);
    }),
  );
