// What an SMTP server's answer, or its silence, means for the mail: see the port (mailer.ts) for the families.
import type { NodemailerError } from 'nodemailer';
import { UnavailableError } from '../domain/errors.ts';
import { MailerMisconfiguredError, MailRefusedError } from './mailer.ts';
import { maskAddress } from './message.ts';

/** Authentication: required, too weak, failed, not over this line. Servers say so at whichever command they like. */
const authenticationReplies = new Set([530, 534, 535, 538]);
/** Ours are wrong, or the server's certificate is; none of it depends on the mail. */
const configurationCodes = new Set(['EAUTH', 'ENOAUTH', 'ENOTFOUND', 'ETLS', 'ECONFIG']);
/** As Node's TLS says that it does not trust a server: `CERT_HAS_EXPIRED`, `DEPTH_ZERO_SELF_SIGNED_CERT`, and so on. */
const distrust = /CERT|LEAF_SIGNATURE/;

/**
 * Sorts by which command was refused, because 5xx alone does not say whose fault it is: RCPT TO and DATA speak of this
 * mail, all before them of us. "Relay denied" comes in answer to RCPT TO, but of any recipient: it is about us as well.
 * What was thrown is no `cause` of it: that would take the address into the logs.
 * @param to the address, which is masked where the server repeats it
 */
export function toMailError(thrown: unknown, to: string): Error {
  if (!(thrown instanceof Error)) return new Error(String(thrown));
  const error: NodemailerError = thrown;
  const said = `${withoutAddress(error.message, to)} (${[error.command, error.code].filter(Boolean).join(', ')})`;
  if (isOurs(error)) return new MailerMisconfiguredError(`the SMTP server takes no mail of ours: ${said}`);
  if (!speaksOfTheMail(error) || error.responseCode === 421) {
    return new UnavailableError(`the SMTP server is away: ${said}`, { outcomeUnknown: mayHaveGone(error) });
  }
  // Without a reply it was nodemailer that said no, to a message that is larger than what the server takes.
  if (error.permanent ?? true) return new MailRefusedError(`the mail was refused: ${said}`);
  return new Error(`the mail was not taken yet: ${said}`);
}

const speaksOfTheMail = ({ code, command }: NodemailerError): boolean =>
  code === 'EMESSAGE' || (code === 'EENVELOPE' && command !== 'MAIL FROM');

function isOurs(error: NodemailerError): boolean {
  const { code = '', originalCode = '', responseCode, permanent, command, response = '' } = error;
  if (permanent === false) return false;
  if (responseCode === undefined) {
    return configurationCodes.has(code) || configurationCodes.has(originalCode) || distrust.test(originalCode);
  }
  return (
    authenticationReplies.has(responseCode) ||
    !speaksOfTheMail(error) ||
    (command === 'RCPT TO' && /\brelay/i.test(response))
  );
}

/** Not if the server has answered, or if there never was a line to it. */
const mayHaveGone = ({ code, originalCode, responseCode, timeoutType = 'SOCKET_TIMEOUT' }: NodemailerError): boolean =>
  responseCode === undefined && originalCode !== 'ECONNREFUSED' && code !== 'EDNS' && timeoutType === 'SOCKET_TIMEOUT';

/** Servers name other forms of it as well: what an alias stands for, or the local part alone. */
function withoutAddress(text: string, address: string): string {
  const local = address.slice(0, address.lastIndexOf('@')).toLowerCase();
  return text
    .replaceAll(/[^\s<>,;:()"]+@[^\s<>,;:()"]+/g, (found) => maskAddress(found.toLowerCase()))
    .replaceAll(/[^\s<>,;:()"'@…]+/g, (word) => (word.toLowerCase() === local ? `${word.charAt(0)}…` : word));
}
