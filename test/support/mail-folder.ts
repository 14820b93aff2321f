// The mails that processes without SMTP_URL have written, read back.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The subjects of what lies there for one address, sorted. */
export function subjectsTo(dataDir: string, address: string): readonly string[] {
  const folder = join(dataDir, 'mail');
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((file) => file.endsWith('.eml'))
    .map((file) => readFileSync(join(folder, file), 'utf8'))
    .filter((mail) => mail.includes(`To: ${address}\r\n`))
    .map((mail) => /^Subject: (.*)\r$/m.exec(mail)?.[1] ?? '')
    .toSorted();
}
