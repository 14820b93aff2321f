// The port that mail leaves by. Two adapters: a server (smtp-mailer.ts) and a folder (folder-mailer.ts).
import { UnavailableError } from '../domain/errors.ts';

export type OutgoingMail = Readonly<{
  /** The event that it tells of. It becomes the Message-ID, the same in every repeat, so that a second copy is known by it. */
  id: string;
  /** One address, and nothing around it. */
  to: string;
  subject: string;
  text: string;
  html: string;
}>;

/** Whom mail is from: an address, with a name or `''`. */
export type Sender = Readonly<{ name: string; address: string }>;

/** "No", for good: to this mail or this recipient, and not to others. The message holds the server's answer. */
export class MailRefusedError extends Error {
  override readonly name = 'MailRefusedError';
}

/** The server is there and takes no mail of ours at all: a wrong password, name or right. No mail is at fault. */
export class MailerMisconfiguredError extends UnavailableError {}

/**
 * At least once: an answer that is lost leaves open whether the mail has gone, the caller sends it again, and both copies
 * have the same Message-ID. The adapter repeats nothing that a server may have taken: the job does, with back-off.
 */
export type Mailer = Readonly<{
  /**
   * Resolves when the server has taken it, or the file is there.
   * @param signal gives up on it
   * @throws MailRefusedError repeating cannot help
   * @throws MailerMisconfiguredError all mail is refused, until somebody has corrected the configuration
   * @throws UnavailableError away, or silent: with `outcomeUnknown` where it may have been taken all the same
   * Any other error is a "not now" to this mail, which is worth another attempt later.
   */
  send(mail: OutgoingMail, signal?: AbortSignal): Promise<void>;
  /** After the last `send` has ended. */
  close(): Promise<void>;
}>;
