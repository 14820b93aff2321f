// Mail by SMTP, over a few connections that are kept for the next mail.
import { createTransport } from 'nodemailer';
import type { Mailer, Sender } from './mailer.ts';
import { composeMessage } from './message.ts';
import { toMailError } from './smtp-errors.ts';

/** Milliseconds. */
export type SmtpLimits = Readonly<{
  /** From the look-up of the name to the server's greeting and TLS. */
  connect: number;
  /** A server that says nothing. Long enough for one that reads a mail before it takes it: given up early, it goes out twice. */
  silence: number;
  /** All of one mail, also where the server keeps on saying next to nothing. */
  whole: number;
}>;
/** The whole is less than what a job has, so that silence counts as the server's and not as the job's. */
const defaultLimits: SmtpLimits = { connect: 10_000, silence: 20_000, whole: 25_000 };

/**
 * @param url `smtp://` (upgraded by STARTTLS where it is offered) or `smtps://`, with user and password if there are any;
 * they are sent in the clear to this machine only, or with `?requireTLS=false`. Other options of nodemailer's connections
 * can stand in the query as well, for example `?tls.rejectUnauthorized=false`.
 */
export function createSmtpMailer(deps: Readonly<{ url: string; from: Sender; limits?: SmtpLimits }>): Mailer {
  const { url, from, limits = defaultLimits } = deps;
  const transport = createTransport({
    url,
    pool: true,
    requireTLS: mustBeSecret(new URL(url)),
    connectionTimeout: limits.connect,
    greetingTimeout: limits.connect,
    dnsTimeout: limits.connect,
    socketTimeout: limits.silence,
    // A kept connection may have been closed by the server. Only what it has not begun to read is sent over another.
    maxRequeues: 2,
    idleTimeout: 20_000,
  });
  return {
    async send(mail, signal) {
      const message = composeMessage(mail, from);
      const limit = AbortSignal.timeout(limits.whole);
      try {
        await transport.sendMail({
          ...message,
          signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
        });
      } catch (error) {
        throw toMailError(error, mail.to);
      }
    },
    async close() {
      await Promise.resolve(transport.close());
    },
  };
}

/** A password that is sent before STARTTLS is anybody's, and an answer without STARTTLS is easily forged. */
function mustBeSecret({ protocol, username, hostname }: URL): boolean {
  const isHere = hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.');
  return protocol === 'smtp:' && username !== '' && !isHere;
}
