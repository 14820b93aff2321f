// Mails for tests.
import type { MailOf } from '../../src/domain/job-catalogue.ts';
import { newId } from '../../src/domain/ids.ts';
import type { OutgoingMail, Sender } from '../../src/mail/mailer.ts';

export const sender: Sender = { name: 'Lamps & More', address: 'shop@lamps.example' };

export const anyMail = (changes: Partial<OutgoingMail> = {}): OutgoingMail => ({
  id: newId(),
  to: 'ada@example.com',
  subject: 'News of your lamp',
  text: 'It is bright.\n',
  html: '<p>It is <b>bright</b>.</p>\n',
  ...changes,
});

export const welcomeMail = (changes: Partial<MailOf<'welcome'>> = {}): MailOf<'welcome'> => ({
  template: 'welcome',
  to: 'ada@example.com',
  eventId: newId(),
  data: {},
  ...changes,
});
