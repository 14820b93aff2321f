// The job `send-mail` from its data to the server: what a reader gets, what is counted and what is logged.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newId } from '../../../src/domain/ids.ts';
import type { Mail } from '../../../src/domain/job-catalogue.ts';
import { createSendMail } from '../../../src/mail/send-mail.ts';
import { createSmtpMailer } from '../../../src/mail/smtp-mailer.ts';
import { createMetricsRegistry } from '../../../src/platform/metrics.ts';
import { createLogBook } from '../../support/event-log.ts';
import { sender, welcomeMail } from '../../support/mails.ts';
import { readMetrics, type Scrape } from '../../support/metrics.ts';
import { startSmtpServer, type TestSmtpServer } from '../../support/smtp-server.ts';

let server: TestSmtpServer;
let job: ReturnType<typeof givenJob>;
beforeEach(async () => {
  server = await startSmtpServer();
  job = givenJob();
});
afterEach(async () => {
  await job.mailer.close();
  await server.close();
});

function givenJob() {
  const log = createLogBook();
  const metricsRegistry = createMetricsRegistry();
  const mailer = createSmtpMailer({ url: server.url(), from: sender });
  const sendMail = createSendMail({ mailer, from: sender, logger: log.logger, metricsRegistry });
  return {
    mailer,
    log,
    run: async (data: Mail) => await sendMail({ data, signal: new AbortController().signal }),
    metrics: async (): Promise<Scrape> => readMetrics(await metricsRegistry.text()),
  };
}

describe('the job send-mail', () => {
  it('sends what its template makes of its data, known by the event', async () => {
    const orderId = newId();
    const eventId = newId();
    await job.run({
      template: 'order-confirmation',
      to: 'ada@example.com',
      eventId,
      data: { orderId, items: [{ productId: 'lamp', quantity: 2, price: 1999 }], total: 3998, currency: 'EUR' },
    });
    const { parsed, to } = server.theMail();
    expect(to).toEqual(['ada@example.com']);
    expect(parsed.messageId).toBe(`<${eventId}@lamps.example>`);
    expect(parsed.subject).toContain(orderId);
    for (const part of [parsed.text, parsed.html]) {
      expect(part).toContain('39.98 EUR');
      expect(part).toMatch(/Lamps &(?:amp;)? More/);
    }
  });

  it('puts what somebody typed where it belongs, and nowhere else', async () => {
    const reason = 'changed\r\nBcc: eve@example.com\r\n\r\n<script>alert(1)</script> 世界 \u202Egnp.exe';
    await job.run({
      template: 'order-cancelled',
      to: 'ada@example.com',
      eventId: newId(),
      data: { orderId: 'o-1\r\nBcc: eve@example.com', reason },
    });
    const { parsed, to } = server.theMail();
    expect(to).toEqual(['ada@example.com']);
    expect(parsed.headers.has('bcc')).toBe(false);
    expect(parsed.subject).toBe('Your order o-1 Bcc: eve@example.com has been cancelled');
    expect(parsed.text).toContain('> changed Bcc: eve@example.com <script>alert(1)</script> 世界 gnp.exe');
    expect(parsed.html).not.toContain('<script');
    expect(parsed.html).toContain('&lt;script&gt;alert(1)&lt;/script&gt; 世界 gnp.exe');
  });

  it('counts what was sent by template, and what failed by kind; by no address', async () => {
    await job.run(welcomeMail());
    await job.run(welcomeMail());
    for (const reply of [
      '550 5.1.1 no such user',
      '451 4.7.1 greylisted',
      '421 4.3.2 away',
      '530 5.7.0 who are you?',
    ]) {
      server.answer('RCPT', reply);
      await expect(job.run(welcomeMail())).rejects.toThrow(reply);
    }
    const { value, labelsOf } = await job.metrics();
    expect(value('mails_sent_total', { template: 'welcome' })).toBe(2);
    expect(labelsOf('mails_failed_total').toSorted((a, b) => (a['kind'] ?? '').localeCompare(b['kind'] ?? ''))).toEqual(
      ['failed', 'misconfigured', 'refused', 'unavailable'].map((kind) => ({ template: 'welcome', kind })),
    );
    expect(value('mails_failed_total', { kind: 'refused' })).toBe(1);
  });

  it('says once that no mail goes out and why, and once that it does again', async () => {
    for (const reply of ['421 4.3.2 away', '530 5.7.0 who are you?']) {
      server.answer('MAIL', reply);
      for (const _ of [1, 2, 3]) await expect(job.run(welcomeMail())).rejects.toThrow(reply);
    }
    server.answer('MAIL', undefined);
    for (const _ of [1, 2, 3]) await job.run(welcomeMail());
    expect(job.log.warnings).toEqual([
      expect.stringMatching(/^no mail goes out.*: .*421/),
      expect.stringMatching(/^no mail goes out.*: .*530/),
    ]);
    expect(job.log.lines.slice(2)).toEqual(['mail goes out again']);
    expect(job.log.raw.join('')).not.toContain('ada@example.com');
  });
});
