// A reconciliation as people and programs read it: a line for each difference, and one at the end.
import type { ReconcileSummary } from '../domain/reconcile-contract.ts';
import type { Finding, Outcome } from './reconcile.ts';

const words: Readonly<Record<Outcome, string>> = {
  person: 'needs a person',
  found: 'safe to mend',
  mended: 'mended',
  left: 'left to the next reconciliation',
  failed: 'could not be mended',
};

export function lineOf({ kind, ids, is, right, outcome, error }: Finding): string {
  const names = Object.entries(ids).map(([name, id]) => `${name}=${id}`);
  const why = error === undefined ? '' : `: ${error}`;
  return oneLine(`${kind} ${names.join(' ')} | is: ${is} | right: ${right} | ${words[outcome]}${why}`);
}

/** The last line. */
export function summaryOf({ differences, mended, notCompared }: ReconcileSummary): string {
  const found = `${mended} mended, ${differences} left`;
  return [...notCompared.map((what) => `not compared: ${what}`), found].map(oneLine).join('\n');
}

/** Nothing is left, and everything was looked at. */
export const isInOrder = ({ differences, notCompared }: ReconcileSummary): boolean =>
  differences === 0 && notCompared.length === 0;

const oneLine = (text: string): string => text.replaceAll(/\s*\n\s*/g, ' ');
