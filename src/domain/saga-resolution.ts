// What an operator may say to a step that is parked: the same words over HTTP, in events, in the signal and in the rows.
// General: knows no order. Safe in the workflow sandbox.

export const resolutionActions = ['retry', 'skip', 'settled'] as const;
/**
 * `retry`: again, at once. `skip`: it is left as it is. `settled`: it was done by other means. The last two end the
 * step and carry a reference that says where to look: a ticket, a bank transfer.
 */
export type ResolutionAction = (typeof resolutionActions)[number];

export const needsReference = (action: ResolutionAction): boolean => action !== 'retry';
export const longestReference = 200;

/** Signal of every saga. What an operator types in the Web UI has no `eventId`; what came over HTTP has. */
export const resolveSignal = 'resolve';
export type ResolveMessage = Readonly<{
  step: string;
  action: ResolutionAction;
  reference?: string | null;
  resolvedBy?: string;
  eventId?: string;
}>;

export type ParkedStep = Readonly<{
  step: string;
  /** It is the undo that is parked. */
  undoing: boolean;
  /** An operator may also skip it, or say that it is settled. */
  byHand: boolean;
  error: string;
}>;

/** What an operator has decided. */
export type Resolution = Readonly<{
  step: string;
  undoing: boolean;
  action: ResolutionAction;
  reference: string | null;
  resolvedBy: string;
  /** One per decision, the same in every attempt to write it down: the event that says so has an id derived from it. */
  resolutionId: string;
  /** The event that asked for it; null where an operator sent the signal by hand. */
  requestId: string | null;
}>;

/** Type of the failure by which an undo, or a step that can only go forward, is refused: no fast retry will help. */
export const refusedForGood = 'refused-for-good';

/** What PostgreSQL cannot store (NUL, half a character) would be tried to write down for ever, and is no text. */
const isText = (value: unknown, most: number): value is string =>
  typeof value === 'string' &&
  value.trim() !== '' &&
  value.length <= most &&
  value.isWellFormed() &&
  !value.includes('\u0000');

/** Of what somebody may have typed by hand. @returns the message, or in a sentence what is wrong with it */
export function readResolveMessage(given: unknown): ResolveMessage | string {
  if (typeof given !== 'object' || given === null) return 'not a JSON object with step and action';
  const { step, action: word, reference, resolvedBy, eventId } = given as Readonly<Record<string, unknown>>;
  if (!isText(step, 100)) return 'step is missing';
  const action = resolutionActions.find((known) => known === word);
  if (action === undefined) return `action must be one of ${resolutionActions.join(', ')}`;
  const hasReference = reference !== undefined && reference !== null;
  if (hasReference && !isText(reference, longestReference))
    return `reference must be a text of 1 to ${longestReference} characters`;
  if (needsReference(action) && !hasReference) return `${action} needs a reference`;
  return {
    step,
    action,
    ...(hasReference ? { reference } : {}),
    ...(isText(resolvedBy, 128) ? { resolvedBy } : {}),
    ...(isText(eventId, 64) ? { eventId } : {}),
  };
}
