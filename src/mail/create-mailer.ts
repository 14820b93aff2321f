// Which way mail leaves, by the configuration.
import { join } from 'node:path';
import type { Logger } from '../platform/logger.ts';
import { createFolderMailer } from './folder-mailer.ts';
import type { Mailer, Sender } from './mailer.ts';
import { createSmtpMailer } from './smtp-mailer.ts';

type Settings = Readonly<{ smtpUrl: string | undefined; mailFrom: Sender; dataDir: string }>;

export function createMailer({ smtpUrl, mailFrom: from, dataDir }: Settings, logger: Logger): Mailer {
  if (smtpUrl !== undefined) return createSmtpMailer({ url: smtpUrl, from });
  return createFolderMailer({ folder: join(dataDir, 'mail'), from, logger });
}
