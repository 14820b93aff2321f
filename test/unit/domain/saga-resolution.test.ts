import { describe, expect, it } from 'vitest';
import { readResolveMessage } from '../../../src/domain/saga-resolution.ts';

describe('what an operator has typed', () => {
  it.each([
    [{ step: 'charge', action: 'retry' }],
    [{ step: 'charge', action: 'skip', reference: 'ticket 1' }],
    [{ step: 'charge', action: 'settled', reference: 'r', resolvedBy: 'ada', eventId: 'e-1' }],
  ])('%j is understood as it is', (given) => {
    expect(readResolveMessage(given)).toEqual(given);
  });

  it('may say more than is asked for, and say nothing by null', () => {
    expect(readResolveMessage({ step: 'charge', action: 'retry', reference: null, mood: 'bad' })).toEqual({
      step: 'charge',
      action: 'retry',
    });
  });

  it.each([
    [undefined, /not a JSON object/],
    ['charge', /not a JSON object/],
    [null, /not a JSON object/],
    [[], /step is missing/],
    [{ action: 'retry' }, /step is missing/],
    [{ step: ' ', action: 'retry' }, /step is missing/],
    [{ step: 'charge' }, /action must be one of retry, skip, settled/],
    [{ step: 'charge', action: 'RETRY' }, /action must be one of/],
    [{ step: 'charge', action: 'skip' }, /skip needs a reference/],
    [{ step: 'charge', action: 'settled', reference: null }, /settled needs a reference/],
    [{ step: 'charge', action: 'settled', reference: 7 }, /reference must be a text/],
    [{ step: 'charge', action: 'settled', reference: ' ' }, /reference must be a text/],
    [{ step: 'charge', action: 'settled', reference: 'x'.repeat(201) }, /reference must be a text/],
    // Neither can be stored: written down for ever in vain, it would keep the saga from hearing anything else.
    [{ step: 'charge', action: 'settled', reference: 'a\u0000b' }, /reference must be a text/],
    [{ step: 'charge', action: 'settled', reference: 'a\ud800' }, /reference must be a text/],
  ])('%j is refused in a sentence', (given, sentence) => {
    expect(readResolveMessage(given)).toMatch(sentence);
  });
});
