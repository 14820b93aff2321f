// From a job's data to a mail that can be sent. One template for each kind, and none is forgotten: the switch is closed.
import type { Mail } from '../domain/job-catalogue.ts';
import { inOneLine, type Letter } from './letter.ts';
import { toHtml } from './letter-html.ts';
import { toText } from './letter-text.ts';
import type { OutgoingMail } from './mailer.ts';
import { emailChangedConfirmation } from './templates/email-changed-confirmation.ts';
import { orderCancelled } from './templates/order-cancelled.ts';
import { orderConfirmation } from './templates/order-confirmation.ts';
import { welcome } from './templates/welcome.ts';

/** @param service the name that it speaks of itself by */
export function renderMail(mail: Mail, service: string): OutgoingMail {
  const letter = letterOf(mail, service);
  const signature = `Sent automatically by ${service}. Please do not reply: nobody reads answers to this address.`;
  return {
    id: mail.eventId,
    to: mail.to,
    subject: inOneLine(letter.subject),
    text: toText(letter, signature),
    html: toHtml(letter, signature),
  };
}

function letterOf(mail: Mail, service: string): Letter {
  switch (mail.template) {
    case 'welcome':
      return welcome(mail.to, service);
    case 'email-changed-confirmation':
      return emailChangedConfirmation(mail.to, mail.data.oldEmail, service);
    case 'order-confirmation':
      return orderConfirmation(mail.data);
    case 'order-cancelled':
      return orderCancelled(mail.data);
  }
}
