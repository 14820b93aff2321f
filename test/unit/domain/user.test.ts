import { describe, expect, it } from 'vitest';
import { parseEmailAddress } from '../../../src/domain/user-address.ts';
import { changeEmail, createUser } from '../../../src/domain/user.ts';
import { at, testContext } from './given-order.ts';

const userId = '0190f3a4-0000-7000-8000-00000000000a';
const ada = { userId, tenantId: 'acme', email: 'Ada@example.com', version: 3 };
const envelope = {
  eventId: 'event-1',
  occurredAt: at,
  aggregateId: userId,
  aggregateType: 'user',
  metadata: testContext().metadata,
};

describe('a user', () => {
  it('begins with its address, in the tenant of the command', () => {
    expect(createUser({ userId, email: ada.email }, testContext())).toEqual({
      user: { ...ada, version: 1 },
      event: { ...envelope, eventType: 'user.created', payload: { userId, email: ada.email, tenantId: 'acme' } },
    });
  });

  it('gets another address, and the event has both', () => {
    expect(changeEmail(ada, 'ada@example.org', testContext())).toEqual({
      user: { ...ada, email: 'ada@example.org', version: 4 },
      event: {
        ...envelope,
        eventType: 'user.email_updated',
        payload: { userId, oldEmail: ada.email, newEmail: 'ada@example.org' },
      },
    });
  });

  it('that gets the address it has stays as it is, without an event', () => {
    expect(changeEmail(ada, ada.email, testContext())).toEqual({ user: ada });
  });

  it('whose address is spelt differently is changed: mail goes to what is stored', () => {
    expect(changeEmail(ada, 'ada@example.com', testContext())).toMatchObject({ user: { version: 4 } });
  });

  it.each(['ada', ' ada@example.com', 'ada@EXAMPLE.com'])('takes no address that was not parsed: %j', (email) => {
    expect(() => createUser({ userId, email }, testContext())).toThrow(RangeError);
    expect(() => changeEmail(ada, email, testContext())).toThrow(RangeError);
  });
});

describe('an address', () => {
  const domain63 = `${'d'.repeat(63)}.example`;
  it.each([
    ['ada@example.com', 'ada@example.com'],
    [' \tAda.Lovelace@Example.COM\n', 'Ada.Lovelace@example.com'],
    ["o'neil+tag/x=y@a-b.co.uk", "o'neil+tag/x=y@a-b.co.uk"],
    ['x@xn--bcher-kva.xn--p1ai', 'x@xn--bcher-kva.xn--p1ai'],
    ['1@4.example', '1@4.example'],
    [`${'l'.repeat(64)}@${domain63}`, `${'l'.repeat(64)}@${domain63}`],
  ])('%j is stored as %j', (given, stored) => {
    expect(parseEmailAddress(given)).toBe(stored);
    expect(parseEmailAddress(stored)).toBe(stored);
  });

  it.each([
    '',
    ' ',
    '@',
    'ada',
    '@example.com',
    'ada@',
    'ada@localhost',
    'ada@example.',
    'ada@.com',
    'ada@exa..mple.com',
    'ada@-example.com',
    'ada@example-.com',
    'ada@192.168.0.1',
    'ada@[192.168.0.1]',
    '.ada@example.com',
    'ada.@example.com',
    'a..b@example.com',
    'a b@example.com',
    'a@b@example.com',
    '"a b"@example.com',
    'Ada <ada@example.com>',
    'ada@example.com,eve@example.com',
    'ada@example.com\nBcc: eve@example.com',
    'ädä@example.com',
    'ada@exämple.com',
    `${'l'.repeat(65)}@example.com`,
    `ada@${'d'.repeat(64)}.example`,
    `ada@${'d.'.repeat(130)}com`,
    `${'a.'.repeat(100_000)}@`,
  ])('%j is none', (given) => {
    expect(parseEmailAddress(given)).toBeUndefined();
  });
});
