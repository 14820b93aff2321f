// Bodies: read as bytes (a signature is over bytes), parsed as JSON, and refused where PostgreSQL could not store them.
import express, { type Request, type RequestHandler } from 'express';
import { unstorable } from '../../event-store/event-codec.ts';
import { fieldName } from './fields.ts';
import { HttpError, invalidInput, type FieldError } from './problems.ts';

const mostBytes = 256 * 1024;
/** Ours are three deep. Without a limit, a body of brackets overflows the stack of whoever walks it. */
const deepest = 32;

const bodies = new WeakMap<Request, unknown>();

/** Every content type: what a body claims to be is judged only where there is one. */
export const readBytes: RequestHandler = express.raw({ type: () => true, limit: mostBytes });

export const readJson: RequestHandler = (request, _response, next) => {
  bodies.set(request, parseJson(request, rawBodyOf(request)));
  next();
};

export const rawBodyOf = (request: Request): Buffer => (Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0));

/** The parsed body; undefined where there was none. */
export const bodyOf = (request: Request): unknown => bodies.get(request);

/** @throws HttpError 415 or 400 */
export function parseJson(request: Request, bytes: Buffer): unknown {
  if (bytes.length === 0) return undefined;
  if (request.is(['application/json', 'application/*+json']) === false) {
    throw new HttpError({ status: 415, code: 'unsupported-media-type', detail: 'the body must be application/json' });
  }
  let body: unknown;
  try {
    body = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new HttpError({
      status: 400,
      code: 'malformed-json',
      detail: 'the body is not JSON in UTF-8',
      field: 'body',
    });
  }
  const wrong = [...unstorableFields(body, [])];
  if (wrong.length > 0) throw invalidInput(wrong);
  return body;
}

function* unstorableFields(value: unknown, path: readonly PropertyKey[]): Generator<FieldError> {
  const message = 'must not hold NUL or half of a surrogate pair';
  if (typeof value === 'string' && unstorable.test(value)) yield { field: fieldName(path), message };
  if (typeof value !== 'object' || value === null) return;
  if (path.length === deepest) {
    yield { field: fieldName(path.slice(0, 3)), message: `is nested more than ${deepest} deep` };
    return;
  }
  for (const [key, part] of Object.entries(value)) {
    if (unstorable.test(key)) yield { field: fieldName(path), message: `${message} in a name` };
    else yield* unstorableFields(part, [...path, Array.isArray(value) ? Number(key) : key]);
  }
}
