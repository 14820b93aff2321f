import { expect, test } from 'vitest';
import { waitOf } from '../../../src/http/protocol/prefer.ts';

test.each([
  ['wait=10', 10],
  ['Wait=10', 10],
  ['respond-async, wait=5', 5],
  ['respond-async,wait=5', 5],
  ['wait=5, respond-async', 5],
  ['foo="a, wait=3", wait=7', 7],
  ['foo; wait=3, wait=8', 8],
  ['wait = 4', 4],
  ['wait="6"', 6],
  ['wait=9; why=not', 9],
  ['wait=0', 0],
  ['wait=30', 30],
  ['wait=31', 30],
  ['wait=999999999', 30],
  ['wait=2, wait=20', 2],
])('%s asks for %i seconds', (header, seconds) => {
  expect(waitOf(header)).toBe(seconds);
});

test.each([
  undefined,
  '',
  'respond-async',
  'wait',
  'wait=',
  'wait=-1',
  'wait=1.5',
  'wait=ten',
  'await=5',
  'foo=wait=5',
])('%s asks for no wait', (header) => {
  expect(waitOf(header)).toBeUndefined();
});
