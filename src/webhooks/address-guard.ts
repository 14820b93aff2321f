// Which URLs and addresses webhooks may go to: an endpoint must not make this service call what only it can reach.
import { Resolver } from 'node:dns/promises';
import { lookup } from 'node:dns/promises';
import { BlockList, isIP, type LookupFunction } from 'node:net';

/** Of a name, IPv4 and IPv6 as they come. @throws where it has none */
export type Resolve = (hostname: string) => Promise<readonly string[]>;

export type AddressGuard = Readonly<{
  /**
   * By what the URL says alone; a name is not looked up here, since it may mean another address at the next moment.
   * @returns why nothing may be sent there; undefined where nothing speaks against it
   */
  refusalOf(url: URL): string | undefined;
  /** For node:http: hands it checked addresses only, so what is connected to is what was checked. */
  lookup: LookupFunction;
}>;

/** What is reserved, private, or another machine's idea of itself (IANA's special-purpose registries). */
const closed = new BlockList();
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const) {
  closed.addSubnet(network, bits, 'ipv4');
}
for (const [network, bits] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const) {
  closed.addSubnet(network, bits, 'ipv6');
}
/** All that is routed in public. Loopback, link-local, unique-local, mapped IPv4, NAT64 and multicast are not in it. */
const publicIpv6 = new BlockList();
publicIpv6.addSubnet('2000::', 3, 'ipv6');

export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !closed.check(address, 'ipv4');
    case 6:
      return publicIpv6.check(address, 'ipv6') && !closed.check(address, 'ipv6');
    default:
      return false;
  }
}

/** Not the system's own look-up: that has few threads, and a name server that is silent would hold up all endpoints. */
const resolveInPublic: Resolve = async (hostname) => {
  const resolver = new Resolver({ timeout: 3_000, tries: 2 });
  const found = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]);
  const addresses = found.flatMap((each) => (each.status === 'fulfilled' ? each.value : []));
  const failed = found.find((each) => each.status === 'rejected');
  if (addresses.length === 0 && failed !== undefined) throw failed.reason;
  return addresses;
};
/** As this machine sees names, from its hosts file too. */
const resolveAtHome: Resolve = async (hostname) =>
  (await lookup(hostname, { all: true })).map(({ address }) => address);

/** @param allowPrivate on a machine of one's own: then anything goes that is a URL of http or https */
export function createAddressGuard({
  allowPrivate,
  resolve = allowPrivate ? resolveAtHome : resolveInPublic,
}: Readonly<{ allowPrivate: boolean; resolve?: Resolve }>): AddressGuard {
  const isAllowed = (address: string): boolean => allowPrivate || isPublicAddress(address);

  async function checked(hostname: string): Promise<readonly string[]> {
    const addresses = (await resolve(hostname)).filter((address) => isIP(address) !== 0);
    const allowed = addresses.filter(isAllowed);
    if (allowed.length > 0) return allowed;
    if (addresses.length === 0) throw new Error(`${hostname} has no address`);
    throw new Error(`${hostname} is a private or reserved address, which webhooks do not go to`);
  }

  return {
    refusalOf(url) {
      if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'must begin with https://';
      if (url.username !== '' || url.password !== '') return 'must hold no user name and no password';
      if (allowPrivate) return undefined;
      if (url.protocol !== 'https:') return 'must begin with https://';
      // The parser has made one form of the many that an IPv4 address may be written in.
      const hostname = url.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '');
      const isHere = /(?:^|\.)localhost$/.test(hostname);
      return isHere || (isIP(hostname) !== 0 && !isPublicAddress(hostname))
        ? 'must not be a private or reserved address'
        : undefined;
    },
    lookup(hostname, options, callback) {
      checked(hostname).then(
        (addresses) => {
          const all = addresses.map((address) => ({ address, family: isIP(address) }));
          const [first] = all;
          if (options.all === true) callback(null, all);
          else callback(null, first?.address ?? '', first?.family);
        },
        (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), ''),
      );
    },
  };
}
