// Money is an integer count of minor units and a currency. Nothing here divides, so nothing here rounds.

/** @throws RangeError where the amount is not a safe integer or the currency is not three capital letters. */
export class Money {
  readonly currency: string;
  readonly #amount: number;

  private constructor(amount: number, currency: string) {
    if (!Number.isSafeInteger(amount)) throw new RangeError(`amount must be an integer of minor units, not ${amount}`);
    if (!/^[A-Z]{3}$/.test(currency)) throw new RangeError(`currency must be an ISO 4217 code, not ${currency}`);
    this.#amount = amount;
    this.currency = currency;
  }

  static of(amount: number, currency: string): Money {
    return new Money(amount, currency);
  }

  /** Minor units: cents for EUR, whole yen for JPY. */
  getAmount(): number {
    return this.#amount;
  }

  plus(other: Money): Money {
    if (other.currency !== this.currency) throw new RangeError(`cannot add ${other.currency} to ${this.currency}`);
    return new Money(this.#amount + other.#amount, this.currency);
  }

  times(quantity: number): Money {
    return new Money(this.#amount * quantity, this.currency);
  }

  /** For people: `39.98 EUR`, `500 JPY`. */
  toString(): string {
    const digits =
      new Intl.NumberFormat('en', { style: 'currency', currency: this.currency }).resolvedOptions()
        .maximumFractionDigits ?? 2;
    return `${(this.#amount / 10 ** digits).toFixed(digits)} ${this.currency}`;
  }

  equals(other: Money): boolean {
    return other.currency === this.currency && other.#amount === this.#amount;
  }
}
