// Which URLs webhooks may go to, however their address is written.
import { describe, expect, it } from 'vitest';
import { createAddressGuard, isPublicAddress } from '../../../src/webhooks/address-guard.ts';

const strict = createAddressGuard({ allowPrivate: false });
const open = createAddressGuard({ allowPrivate: true });
const refusal = (url: string, guard = strict): string | undefined => guard.refusalOf(new URL(url));

describe('a URL', () => {
  it.each([
    'https://example.com/hooks?x=1',
    'https://example.com:8443/',
    'https://93.184.216.34/',
    'https://[2606:2800:220:1:248:1893:25c8:1946]/',
  ])('%s may be called', (url) => {
    expect(refusal(url)).toBeUndefined();
    expect(refusal(url, open)).toBeUndefined();
  });

  it.each([
    'https://127.0.0.1/',
    'https://2130706433/',
    'https://0x7f000001/',
    'https://0177.0.0.1/',
    'https://127.1/',
    'https://0/',
    'https://10.1.2.3/',
    'https://172.31.255.255/',
    'https://192.168.0.1/',
    'https://169.254.169.254/latest/meta-data',
    'https://100.64.0.1/',
    'https://224.0.0.1/',
    'https://255.255.255.255/',
    'https://198.18.0.1/',
    'https://[::]/',
    'https://[::1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[::ffff:7f00:1]/',
    'https://[fe80::1]/',
    'https://[fd12:3456::1]/',
    'https://[ff02::1]/',
    'https://[64:ff9b::a9fe:a9fe]/',
    'https://[64:ff9b:1::1]/',
    'https://[2002:7f00:1::]/',
    'https://[2001::1]/',
    'https://localhost/',
    'https://LOCALHOST./',
    'https://db.localhost/',
  ])('%s is refused, unless private addresses are allowed', (url) => {
    expect(refusal(url)).toBe('must not be a private or reserved address');
    expect(refusal(url, open)).toBeUndefined();
  });

  it('needs https, unless private addresses are allowed', () => {
    expect(refusal('http://example.com/')).toBe('must begin with https://');
    expect(refusal('http://127.0.0.1/', open)).toBeUndefined();
  });

  it.each([
    'ftp://example.com/',
    'file:///etc/passwd',
    'javascript:alert(1)',
    'https://a:b@example.com/',
    'https://a@example.com/',
  ])('%s is refused everywhere', (url) => {
    expect(refusal(url)).toMatch(/^must /);
    expect(refusal(url, open)).toMatch(/^must /);
  });
});

it('what is no address is none that is public', () => {
  expect(['', 'example.com', '1.2.3', '::g'].map(isPublicAddress)).toEqual([false, false, false, false]);
});

it('of several addresses of a name only those are handed out that may be called', async () => {
  const guard = createAddressGuard({
    allowPrivate: false,
    resolve: async () => await Promise.resolve(['10.0.0.1', '93.184.216.34', '::1']),
  });
  const handedOut = await new Promise((resolve, reject) =>
    guard.lookup('mixed.example', { all: true }, (error, addresses) => {
      if (error === null) resolve(addresses);
      else reject(error);
    }),
  );
  expect(handedOut).toEqual([{ address: '93.184.216.34', family: 4 }]);
});
