// The message of RFC 5322 that becomes of a mail: the same for a server and for a file.
import type { SendMailOptions } from 'nodemailer';
import { parseEmailAddress } from '../domain/user-address.ts';
import { MailRefusedError, type OutgoingMail, type Sender } from './mailer.ts';

/** No @, no bracket, no blank, no line break, and no way out of a folder: fit for a header and for the name of a file. */
const safeId = /^(?!\.)[A-Za-z0-9._-]{1,128}$/;

/**
 * Nothing that comes with the mail can become a header or another recipient: the address is one address or refused, ids
 * are of a few characters, and nodemailer encodes the rest. Its Date is that of the attempt, not of the event: a mail that
 * waited for days looks like spam if it says so.
 * @throws MailRefusedError where there is nobody to send it to
 */
export function composeMessage(mail: OutgoingMail, from: Sender): SendMailOptions {
  if (!safeId.test(mail.id))
    throw new MailRefusedError(`no Message-ID can be made of the id ${JSON.stringify(mail.id)}`);
  const to = parseEmailAddress(mail.to);
  if (to === undefined) throw new MailRefusedError('what it is addressed to is no e-mail address');
  return {
    messageId: `<${mail.id}@${from.address.slice(from.address.lastIndexOf('@') + 1)}>`,
    from,
    to: { name: '', address: to },
    // Said once more for the server: no header has a say in who gets it.
    envelope: { from: from.address, to: [to] },
    subject: mail.subject,
    text: mail.text,
    html: mail.html,
    // RFC 3834: no machine answers it, no holiday notice comes back. The second is for Exchange, which goes by its own.
    headers: { 'Auto-Submitted': 'auto-generated', 'X-Auto-Response-Suppress': 'All' },
    xMailer: false,
    disableFileAccess: true,
    disableUrlAccess: true,
  };
}

/** `a…@example.com`: tells two recipients apart in a log, and names neither. */
export const maskAddress = (address: string): string =>
  address.replace(/^(.).*(@[^@]*)$/s, (_, first: string, domain: string) => `${first}…${domain}`);
