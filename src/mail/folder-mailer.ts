// Mail without a server: each becomes a file that every mail program opens. What `npm start` uses.
import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createTransport } from 'nodemailer';
import { UnavailableError } from '../domain/errors.ts';
import type { Logger } from '../platform/logger.ts';
import type { Mailer, Sender } from './mailer.ts';
import { composeMessage } from './message.ts';

/**
 * `<folder>/<id>.eml`, for its owner's eyes only. A mail is written beside its place and then moved there, so a file is
 * whole or not there, whenever the process dies; the same mail once more takes the place of the first. What a kill leaves
 * behind is a hidden `.new` file that nobody reads.
 */
export function createFolderMailer(deps: Readonly<{ folder: string; from: Sender; logger: Logger }>): Mailer {
  const { folder, from, logger } = deps;
  const rendering = createTransport({ streamTransport: true, buffer: true, newline: 'windows' });
  return {
    async send(mail) {
      const { message } = await rendering.sendMail(composeMessage(mail, from));
      if (!Buffer.isBuffer(message)) throw new Error('nodemailer has rendered a stream, not a buffer');
      const file = join(folder, `${mail.id}.eml`);
      const beside = join(folder, `.${mail.id}.${randomUUID()}.new`);
      try {
        await mkdir(folder, { recursive: true, mode: 0o700 });
        await writeFile(beside, message, { mode: 0o600, flush: true });
        await rename(beside, file);
      } catch (error) {
        await rm(beside, { force: true }).catch(() => undefined);
        throw new UnavailableError(`the mail could not be written to ${folder}`, { cause: error });
      }
      logger.info({ file }, 'wrote a mail to a file, because SMTP_URL is unset');
    },
    async close() {
      await Promise.resolve(rendering.close());
    },
  };
}
