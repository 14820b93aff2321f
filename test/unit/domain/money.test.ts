import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Money } from '../../../src/domain/money.ts';

describe('money', () => {
  it('is an amount of minor units in a currency', () => {
    const money = Money.of(1999, 'EUR');
    expect(money.getAmount()).toBe(1999);
    expect(money.currency).toBe('EUR');
  });

  it.each([0.1, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY])('is never %s of anything', (amount) => {
    expect(() => Money.of(amount, 'EUR')).toThrow(/integer of minor units/);
  });

  it.each(['eur', 'EURO', 'E', '', '€'])('is never in "%s"', (currency) => {
    expect(() => Money.of(1, currency)).toThrow(/ISO 4217/);
  });

  it('adds up in one currency and multiplies by a count', () => {
    expect(Money.of(150, 'EUR').plus(Money.of(50, 'EUR')).getAmount()).toBe(200);
    expect(Money.of(150, 'EUR').times(3).getAmount()).toBe(450);
    expect(Money.of(150, 'EUR').times(0).getAmount()).toBe(0);
  });

  it('of two currencies is not added', () => {
    expect(() => Money.of(1, 'EUR').plus(Money.of(1, 'USD'))).toThrow('cannot add USD to EUR');
  });

  it('that would lose a cent to rounding is refused instead', () => {
    const most = Money.of(Number.MAX_SAFE_INTEGER, 'EUR');
    expect(() => most.plus(Money.of(1, 'EUR'))).toThrow(RangeError);
    expect(() => most.times(2)).toThrow(RangeError);
    expect(() => Money.of(1, 'EUR').times(0.5)).toThrow(RangeError);
  });

  it('is the same where amount and currency are', () => {
    expect(Money.of(1, 'EUR').equals(Money.of(1, 'EUR'))).toBe(true);
    expect(Money.of(1, 'EUR').equals(Money.of(2, 'EUR'))).toBe(false);
    expect(Money.of(1, 'EUR').equals(Money.of(1, 'USD'))).toBe(false);
  });

  it('comes to the same sum in whatever order it is added', () => {
    const amounts = fc.array(fc.integer({ min: 0, max: 1_000_000 }), { minLength: 1, maxLength: 20 });
    const sum = (list: readonly number[]): number =>
      list.reduce((total, amount) => total.plus(Money.of(amount, 'EUR')), Money.of(0, 'EUR')).getAmount();
    fc.assert(fc.property(amounts, (list) => sum(list) === sum(list.toReversed())));
  });
});
