import { expect, test } from 'vitest';
import { ConflictError, DomainError, domainErrorCodes, UnavailableError } from '../../../src/domain/errors.ts';
import { problemAnswer, problemOf } from '../../../src/http/protocol/problems.ts';

test('every code of the domain has a status that says who must change what', () => {
  const statuses = Object.groupBy(domainErrorCodes, (code) => String(problemOf(new DomainError(code, 'why')).status));
  expect(Object.keys(statuses)).toEqual(['404', '409', '422']);
  expect(statuses['404']).toEqual([
    'order-not-found',
    'item-not-found',
    'product-not-found',
    'payment-not-found',
    'user-not-found',
  ]);
  expect(statuses['409']).toEqual(expect.arrayContaining(['order-not-draft', 'order-ended', 'stock-below-reserved']));
  expect(statuses['422']).toEqual(expect.arrayContaining(['order-empty', 'out-of-stock', 'payment-mismatch']));
});

test('a refusal of the domain keeps its code, its words and its field', () => {
  const answer = problemAnswer(problemOf(new DomainError('out-of-stock', 'tea has 1 available', 'quantity')), 'c-1');
  expect(answer).toMatchObject({ status: 422, headers: { 'Content-Type': 'application/problem+json' } });
  expect(JSON.parse(answer.body ?? '')).toEqual({
    type: 'urn:problem-type:athyper-sagas:out-of-stock',
    title: 'Out of stock',
    status: 422,
    detail: 'tea has 1 available',
    field: 'quantity',
    correlationId: 'c-1',
  });
});

test.each([
  [new ConflictError('s is at version 3', 3), 409, 'conflict'],
  [new UnavailableError('no answer'), 503, 'unavailable'],
  [Object.assign(new Error('x'), { code: 'ECONNREFUSED' }), 503, 'unavailable'],
  [Object.assign(new Error('x'), { code: '57P01' }), 503, 'unavailable'],
])('%s may be tried again, and says when', (error, status, code) => {
  expect(problemOf(error)).toMatchObject({ status, code, headers: { 'Retry-After': '1' } });
  expect(problemOf(error).detail).not.toContain(error.message);
});

test.each([new Error('boom'), 'boom', undefined, Object.assign(new Error('x'), { code: '42P01' }), { status: 404 }])(
  '%s is our own bug: 500, and not a word of it in the answer',
  (error) => {
    const problem = problemOf(error);
    expect(problem).toMatchObject({ status: 500, code: 'internal-error' });
    expect(problem.detail).not.toContain('boom');
  },
);
