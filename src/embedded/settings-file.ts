// What a start makes up once and later starts need again: DATA_DIR/settings.json, for its owner's eyes only.
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { StartupError } from '../platform/startup-error.ts';

const settingsFile = z.object({ PAYMENTS_WEBHOOK_SECRET: z.string().startsWith('whsec_') });

/**
 * The secret of the payment gateway's callbacks in this DATA_DIR, made by the first start.
 * @throws StartupError where the file is broken.
 */
export function keptWebhookSecret(folder: string): string {
  const file = join(folder, 'settings.json');
  if (!existsSync(file)) {
    const settings = { PAYMENTS_WEBHOOK_SECRET: `whsec_${randomBytes(32).toString('base64')}` };
    writeFileSync(`${file}.new`, `${JSON.stringify(settings, undefined, 2)}\n`, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }
  try {
    return settingsFile.parse(JSON.parse(readFileSync(file, 'utf8'))).PAYMENTS_WEBHOOK_SECRET;
  } catch {
    throw new StartupError(
      `${file} is broken: it must be JSON with a PAYMENTS_WEBHOOK_SECRET. Correct it, or remove it to have a new secret made.`,
    );
  }
}
