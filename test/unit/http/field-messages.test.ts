// What a caller is told of a field that is wrong.
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parse } from '../../../src/http/protocol/fields.ts';
import { HttpError } from '../../../src/http/protocol/problems.ts';

const schema = z.strictObject({
  name: z.string().min(1).max(3),
  count: z.int().min(1).max(5),
  items: z.array(z.strictObject({ price: z.int() })).min(1),
  state: z.enum(['dead', 'pending']),
  isOpen: z.boolean(),
  currency: z.string().refine((code) => code === 'EUR', 'must be an ISO 4217 currency code'),
});

function errorsOf(input: unknown): unknown {
  try {
    return parse(schema, input);
  } catch (error) {
    if (!(error instanceof HttpError)) throw error;
    return Object.fromEntries((error.problem.errors ?? []).map(({ field, message }) => [field, message]));
  }
}

describe('a field that is wrong', () => {
  it('or missing is named, with what would be right', () => {
    expect(errorsOf({})).toEqual({
      name: 'is missing, must be a text',
      count: 'is missing, must be a whole number',
      items: 'is missing, must be a list',
      state: 'is missing, must be one of dead, pending',
      isOpen: 'is missing, must be true or false',
      currency: 'is missing, must be a text',
    });
    const wrong = {
      name: 7,
      count: 1.5,
      items: [{ price: '1' }],
      state: 'gone',
      isOpen: 'no',
      currency: 'eur',
      more: 1,
    };
    expect(errorsOf(wrong)).toEqual({
      name: 'must be a text',
      count: 'must be a whole number',
      'items[0].price': 'must be a whole number',
      state: 'must be one of dead, pending',
      isOpen: 'must be true or false',
      currency: 'must be an ISO 4217 currency code',
      more: 'is not known here',
    });
    expect(errorsOf(null)).toEqual({ body: 'must be an object' });
  });

  it('or too long, too short, too large or too small is named with the limit', () => {
    const good = { state: 'dead', isOpen: true, currency: 'EUR' };
    expect(errorsOf({ ...good, name: '', count: 0, items: [] })).toEqual({
      name: 'must be a text of at least 1 character',
      count: 'must be at least 1',
      items: 'must be a list of at least 1 entry',
    });
    expect(errorsOf({ ...good, name: 'long', count: 6, items: [{ price: 1 }] })).toEqual({
      name: 'must be a text of at most 3 characters',
      count: 'must be at most 5',
    });
  });
});
