// E-mail addresses: which are taken, and how one is written.

/** RFC 5321: of the whole, so that it fits between the brackets of an SMTP command, and of the part before the @. */
const longest = 254;
const longestLocalPart = 64;
/** Unquoted, ASCII; an international domain comes as punycode. Whether mail arrives there, only mail can tell. */
const localPart = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$/;
const label = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/;

export const emailRule = `must be an e-mail address like ada@example.com, in ASCII, of ${longest} characters at most`;

/**
 * The address as it is stored, shown and written to: without blanks around it, the domain in small letters. The part
 * before the @ stays as it was given, for only its mail server knows whether it tells A from a; to us it does not, since
 * two users whose addresses differ in that alone are one (the unique index of `users`).
 * @returns undefined for what is no address
 */
export function parseEmailAddress(given: string): string | undefined {
  const text = given.trim();
  const at = text.lastIndexOf('@');
  if (text.length > longest || at > longestLocalPart) return undefined;
  const local = text.slice(0, Math.max(at, 0));
  const domain = text.slice(at + 1).toLowerCase();
  const labels = domain.split('.');
  if (!localPart.test(local) || labels.length < 2 || !labels.every((part) => label.test(part))) return undefined;
  // A top level of digits alone is the end of an IP address.
  if (/^\d+$/.test(labels.at(-1) ?? '')) return undefined;
  return `${local}@${domain}`;
}
