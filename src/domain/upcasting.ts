// Old events in today's shape. What is stored is never rewritten: it is brought up to date, version by version, when it
// is read.
import type { z, ZodType } from 'zod';

/** From a payload of one version to the next. Pure: the same payload gives the same, for ever. */
export type Upcaster = (payload: unknown) => unknown;

/**
 * One step, typed by the schemas of both versions. What is stored is checked against the old one first, so that `by`
 * gets what its type says; the new one is checked by the next step, or as today's schema.
 */
export function upcast<From extends ZodType, To extends ZodType>(
  step: Readonly<{ from: From; to: To; by: (payload: z.output<From>) => z.input<To> }>,
): Upcaster {
  return (payload) => step.by(step.from.parse(payload));
}
