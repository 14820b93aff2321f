import { expect, test } from 'vitest';
import { parseTraceparent } from '../../../src/http/protocol/traceparent.ts';

const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
const parent = '00f067aa0ba902b7';
const valid = `00-${trace}-${parent}-01`;

test('a valid traceparent is taken as it is', () => {
  expect(parseTraceparent(valid)).toBe(valid);
});

test.each([`cc-${trace}-${parent}-01`, `cc-${trace}-${parent}-01-what-the-future-will-be-like`])(
  '%s, of a later version, is taken as the version that we know',
  (header) => {
    expect(parseTraceparent(header)).toBe(valid);
  },
);

test.each([
  undefined,
  '',
  'garbage',
  `ff-${trace}-${parent}-01`,
  `00-${'0'.repeat(32)}-${parent}-01`,
  `00-${trace}-${'0'.repeat(16)}-01`,
  `00-${trace.toUpperCase()}-${parent}-01`,
  `${valid}-more`,
  `cc-${trace}-${parent}-01.more`,
  `${valid}, ${valid}`,
  ` ${valid}`,
])('%s is ignored', (header) => {
  expect(parseTraceparent(header)).toBeUndefined();
});
