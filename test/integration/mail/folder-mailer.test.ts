// Mail without a server: files that a mail program opens.
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { simpleParser } from 'mailparser';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UnavailableError } from '../../../src/domain/errors.ts';
import { createMailer } from '../../../src/mail/create-mailer.ts';
import { MailRefusedError, type Mailer } from '../../../src/mail/mailer.ts';
import { createLogBook, type LogBook } from '../../support/event-log.ts';
import { anyMail, sender } from '../../support/mails.ts';
import { startSmtpServer } from '../../support/smtp-server.ts';

let dataDir: string;
let log: LogBook;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'athyper-sagas-mail-'));
  log = createLogBook();
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

const mailerOf = (smtpUrl?: string): Mailer => createMailer({ smtpUrl, mailFrom: sender, dataDir }, log.logger);
const files = (): readonly string[] => readdirSync(join(dataDir, 'mail')).toSorted();
const fileOf = (id: string): string => join(dataDir, 'mail', `${id}.eml`);

describe('a mail where no SMTP server is set', () => {
  it('is a file in DATA_DIR, named by its event, that holds the same as would be sent', async () => {
    const mail = anyMail({ subject: 'Grüße 🏮', text: `Ä${'b'.repeat(2_000)}\n`, html: '<p>ß</p>\n' });
    await mailerOf().send(mail);
    expect(files()).toEqual([`${mail.id}.eml`]);

    const raw = readFileSync(fileOf(mail.id));
    const parsed = await simpleParser(raw);
    expect(parsed.messageId).toBe(`<${mail.id}@lamps.example>`);
    expect(parsed.from?.value).toEqual([{ name: sender.name, address: sender.address }]);
    expect(parsed.to).toMatchObject({ value: [{ address: mail.to }] });
    expect(parsed).toMatchObject({ subject: mail.subject, text: mail.text, html: mail.html });
    expect(parsed.headers.get('auto-submitted')).toBe('auto-generated');
    expect(raw.toString('latin1')).not.toMatch(/[^\r]\n/);
  });

  it('has the headers and the parts that it has by SMTP, but for its time and its boundaries', async () => {
    const server = await startSmtpServer();
    const bySmtp = mailerOf(server.url());
    const mail = anyMail();
    await mailerOf().send(mail);
    await bySmtp.send(mail);
    await bySmtp.close();
    await server.close();
    const comparable = (raw = ''): string =>
      raw.replaceAll(/^Date: .*$/gm, 'Date').replaceAll(/--_NmP-[\w-]+/g, 'boundary');
    expect(comparable(readFileSync(fileOf(mail.id), 'latin1'))).toBe(comparable(server.received[0]?.raw));
  });

  it('is for its owner’s eyes only', async () => {
    const mail = anyMail();
    await mailerOf().send(mail);
    expect(statSync(join(dataDir, 'mail')).mode & 0o777).toBe(0o700);
    expect(statSync(fileOf(mail.id)).mode & 0o777).toBe(0o600);
  });

  it('is one file, however often it is sent, also by two at once', async () => {
    const mail = anyMail();
    const mailer = mailerOf();
    await mailer.send(mail);
    await Promise.all(Array.from({ length: 5 }, async () => await mailer.send(mail)));
    expect(files()).toEqual([`${mail.id}.eml`]);
    expect((await simpleParser(readFileSync(fileOf(mail.id)))).html).toBe(mail.html);
  });

  it.each([{ id: '../outside' }, { id: '.hidden' }, { id: 'a/b' }, { to: 'nobody' }])(
    'is refused where %j would lead elsewhere',
    async (changes) => {
      await expect(mailerOf().send(anyMail(changes))).rejects.toBeInstanceOf(MailRefusedError);
      expect(readdirSync(dataDir)).toEqual(expect.not.arrayContaining(['mail', 'outside.eml']));
    },
  );

  it('waits where the folder cannot be written to', async () => {
    writeFileSync(join(dataDir, 'mail'), 'a file, not a folder');
    await expect(mailerOf().send(anyMail())).rejects.toBeInstanceOf(UnavailableError);
  });

  it('is a line in the log that says where it is, and not to whom', async () => {
    const mail = anyMail();
    await mailerOf().send(mail);
    expect(log.raw).toHaveLength(1);
    expect(JSON.parse(log.raw[0] ?? '')).toMatchObject({ level: 30, file: fileOf(mail.id) });
    expect(log.raw[0]).not.toContain(mail.to);
  });
});
