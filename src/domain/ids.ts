// UUIDv7 for what is new; UUIDv5 for what must come out the same when a step is repeated.
import { v5, v7, validate } from 'uuid';
import type { EventContext, EventMetadata } from './event.ts';

/** Namespace of all ids that this project derives. Never change it: ids in stored events depend on it. */
const namespace = '6f6e2c1e-3a52-5f0e-9d0c-7a1b0f4e2d11';

export const newId = (): string => v7();
export const isId = (text: string): boolean => validate(text);

/** The same parts give the same id, on every machine and in every attempt. */
export function derivedId(...parts: readonly string[]): string {
  return v5(JSON.stringify(parts), namespace);
}

/** The stream of what operators said to one saga, and of what came of it. */
export const sagaStreamId = (workflowId: string): string => derivedId('saga', workflowId);

/** For commands from outside: fresh ids. */
export function commandContext(metadata: EventMetadata): EventContext {
  return { metadata, nextEventId: newId, now: () => new Date() };
}

/**
 * For a saga's step: the n-th event of the step has an id derived from workflow and step, so a step that is
 * repeated after its commit appends the same event, which the store takes as a success. (A unit of work that is run
 * again after a deadlock goes on counting: the steps also look at what is there before they append.)
 */
export function stepContext(metadata: EventMetadata, workflowId: string, step: string): EventContext {
  let events = 0;
  return {
    metadata: { ...metadata, sagaId: workflowId },
    nextEventId: () => derivedId('event', workflowId, step, String(++events)),
    now: () => new Date(),
  };
}
