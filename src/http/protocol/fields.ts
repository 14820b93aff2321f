// The kinds of fields that requests are made of, and the parsing that names each one that is wrong.
import { z } from 'zod';
import { messageOf } from './field-messages.ts';
import { invalidInput, type FieldError } from './problems.ts';

const pathSafe = /^(?!\.{1,2}$)[A-Za-z0-9._~:@-]{1,128}$/;
export const pathSafeRule = 'must be 1 to 128 of the characters A-Z a-z 0-9 . _ ~ : @ - and neither . nor ..';
export const isPathSafe = (text: string): boolean => pathSafe.test(text);

const currencies = new Set(Intl.supportedValuesOf('currency'));
/** What the int4 column of the stock holds. */
const mostOnHand = 2_147_483_647;

export const pathSafeId = z.string().regex(pathSafe, pathSafeRule);
export const currency = z.string().refine((code) => currencies.has(code), 'must be an ISO 4217 currency code');
export const quantity = z.int().min(1).max(1_000_000);
export const price = z.int().min(0);
export const onHand = z.int().min(0).max(mostOnHand);
export const text = (least: number, most: number) => z.string().min(least).max(most);

/** A whole number in a query string. */
export const countOf = (most: number, otherwise: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/, `must be a whole number from 1 to ${most}`)
    .transform(Number)
    .refine((count) => count >= 1 && count <= most, `must be a whole number from 1 to ${most}`)
    .default(otherwise);

/** What `encodeNext` made of a cursor, for a page after the first. */
export const nextOf = <T>(schema: z.ZodType<T>) =>
  z.string().transform((given, context): T => {
    try {
      return schema.parse(JSON.parse(Buffer.from(given, 'base64url').toString()));
    } catch {
      context.addIssue({ code: 'custom', message: 'must be the `next` of an earlier answer' });
      return z.NEVER;
    }
  });

/** Opaque to clients; null where there is no further page. */
export const encodeNext = (cursor: unknown): string | null =>
  cursor === undefined ? null : Buffer.from(JSON.stringify(cursor)).toString('base64url');

/** @throws HttpError 400 that names every field that is wrong, unknown ones too where the schema is strict */
export function parse<T>(schema: z.ZodType<T>, input: unknown): T {
  const parsed = schema.safeParse(input, { error: messageOf });
  if (parsed.success) return parsed.data;
  throw invalidInput(parsed.error.issues.flatMap(fieldErrorsOf));
}

function fieldErrorsOf(issue: z.core.$ZodIssue): readonly FieldError[] {
  if (issue.code !== 'unrecognized_keys') return [{ field: fieldName(issue.path), message: issue.message }];
  return issue.keys.map((key) => ({ field: fieldName([...issue.path, key]), message: 'is not known here' }));
}

/** `items[0].price`, or `body` where it is the whole. */
export function fieldName(path: readonly PropertyKey[]): string {
  const name = path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('');
  return name === '' ? 'body' : name.replace(/^\./, '');
}
