// Mail by SMTP against a real server: what arrives, and what each of its refusals and silences means for the job.
import { afterEach, describe, expect, it } from 'vitest';
import { UnavailableError } from '../../../src/domain/errors.ts';
import { newId } from '../../../src/domain/ids.ts';
import { MailerMisconfiguredError, MailRefusedError, type Mailer } from '../../../src/mail/mailer.ts';
import { createSmtpMailer, type SmtpLimits } from '../../../src/mail/smtp-mailer.ts';
import { anyMail, sender } from '../../support/mails.ts';
import {
  startSmtpServer,
  type SmtpCommand,
  type TestSmtpOptions,
  type TestSmtpServer,
} from '../../support/smtp-server.ts';
import { startSilentServer } from '../../support/silent-server.ts';
import { startTcpProxy } from '../../support/tcp-proxy.ts';

const cleanUp: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const clean of cleanUp.toReversed()) await clean();
  cleanUp.length = 0;
});

async function given(options?: TestSmtpOptions): Promise<TestSmtpServer> {
  const server = await startSmtpServer(options);
  cleanUp.push(server.close);
  return server;
}

function mailerTo(url: string, limits?: SmtpLimits): Mailer {
  const mailer = createSmtpMailer({ url, from: sender, ...(limits && { limits }) });
  cleanUp.push(mailer.close);
  return mailer;
}

const errorOf = async (sending: Promise<void>): Promise<Error> =>
  await sending.then(
    () => {
      throw new Error('it was sent');
    },
    (error: unknown) => error as Error,
  );

const trusting = '?tls.rejectUnauthorized=false';

describe('a mail by SMTP', () => {
  it('arrives as text and as HTML, from whom it is, to whom it goes, known by its event', async () => {
    const server = await given();
    const mail = anyMail();
    await mailerTo(server.url()).send(mail);

    const { parsed, from, to } = server.theMail();
    expect({ from, to }).toEqual({ from: sender.address, to: [mail.to] });
    expect(parsed.messageId).toBe(`<${mail.id}@lamps.example>`);
    expect(parsed.from?.value).toEqual([{ name: sender.name, address: sender.address }]);
    expect(parsed.to).toMatchObject({ value: [{ address: mail.to }] });
    expect(parsed).toMatchObject({ subject: mail.subject, text: mail.text, html: mail.html });
    expect(Math.abs((parsed.date?.getTime() ?? 0) - Date.now())).toBeLessThan(60_000);
  });

  it('says that no person wrote it, and not with which program', async () => {
    const server = await given();
    await mailerTo(server.url()).send(anyMail());
    const headers = server.received[0]?.parsed.headers;
    expect(headers?.get('auto-submitted')).toBe('auto-generated');
    expect(headers?.get('content-type')).toMatchObject({ value: 'multipart/alternative' });
    expect([...(headers?.keys() ?? [])].toSorted()).toEqual(
      ['auto-submitted', 'content-type', 'date', 'from', 'message-id', 'mime-version', 'subject', 'to'].concat(
        'x-auto-response-suppress',
      ),
    );
  });

  it('keeps every character and every line, in lines that each server takes', async () => {
    const server = await given();
    const words = 'Grüße, 世界 🏮 – ' + 'long '.repeat(400) + 'x'.repeat(2_000);
    const mail = anyMail({
      subject: `Über 世界 🏮 ${'sehr '.repeat(40)}`.trim(),
      text: `${words}\n.\n.dot\n`,
      html: `<p>${words}</p>\n`,
    });
    await mailerTo(server.url()).send(mail);

    const { parsed, raw } = server.theMail();
    expect(parsed).toMatchObject({ subject: mail.subject, text: mail.text, html: mail.html });
    expect(raw).toMatch(/^[\t\r\n -~]*$/);
    for (const line of raw.split('\r\n')) expect(line.length).toBeLessThanOrEqual(78);
  });

  it.each([
    { subject: 'Hello\r\nBcc: eve@example.com\r\n\r\nBuy' },
    { subject: 'Hello\nBcc: eve@example.com' },
    { text: 'Hello\r\n.\r\nMAIL FROM:<eve@example.com>\r\nRCPT TO:<eve@example.com>\r\n' },
  ])('cannot be made to go to somebody else by what it says: %j', async (changes) => {
    const server = await given();
    await mailerTo(server.url()).send(anyMail(changes));
    const { parsed, to } = server.theMail();
    expect(to).toEqual(['ada@example.com']);
    expect(parsed.bcc).toBeUndefined();
    expect(parsed.headers.has('bcc')).toBe(false);
  });

  it.each([
    { to: 'ada@example.com, eve@example.com' },
    { to: 'ada@example.com\r\nBcc: eve@example.com' },
    { to: '"ada@example.com" <eve@example.com>' },
    { to: 'ada@example.com> RCPT TO:<eve@example.com' },
    { to: '' },
    { id: 'x>\r\nBcc: <eve@example.com' },
    { id: '../../etc/passwd' },
  ])(
    'to what is no single address, or of what is no id, is refused before a server hears of it: %j',
    async (changes) => {
      const server = await given();
      expect(await errorOf(mailerTo(server.url()).send(anyMail(changes)))).toBeInstanceOf(MailRefusedError);
      expect(server.counts.connections).toBe(0);
    },
  );

  it('goes over a connection that is kept, and over a new one where the server has closed that', async () => {
    const server = await given();
    const proxy = await startTcpProxy({ host: '127.0.0.1', port: server.port });
    cleanUp.push(proxy.close);
    const mailer = mailerTo(`smtp://127.0.0.1:${proxy.port}`);
    for (const _ of [1, 2]) await mailer.send(anyMail());
    expect(server.counts.connections).toBe(1);
    proxy.cut();
    proxy.mend();
    await mailer.send(anyMail());
    expect(server.counts).toEqual({ connections: 2, offered: 3 });
    expect(server.received).toHaveLength(3);
  });
});

describe('a server with TLS', () => {
  it.each(['offered', 'from-the-start'] as const)('%s gets it over TLS', async (tls) => {
    const server = await given({ tls });
    await mailerTo(server.url('', trusting)).send(anyMail());
    expect(server.received).toMatchObject([{ secure: true }]);
  });

  it.each(['offered', 'from-the-start'] as const)(
    '%s with a certificate that nobody signed gets nothing, and no mail is given up',
    async (tls) => {
      const server = await given({ tls });
      expect(await errorOf(mailerTo(server.url()).send(anyMail()))).toBeInstanceOf(MailerMisconfiguredError);
      expect(server.counts.offered).toBe(0);
    },
  );
});

describe('a server that asks who sends', () => {
  const users = { 'ada@lamps.example': 'p@ss:wörd/?#' };
  const userInfo = (password: string) => `${encodeURIComponent('ada@lamps.example')}:${encodeURIComponent(password)}@`;

  it.each(['offered', 'from-the-start', 'plain'] as const)(
    'is told user and password of the URL (TLS: %s)',
    async (tls) => {
      const server = await given({ tls, users });
      await mailerTo(server.url(userInfo('p@ss:wörd/?#'), trusting)).send(anyMail());
      expect(server.received).toMatchObject([{ user: 'ada@lamps.example', secure: tls !== 'plain' }]);
    },
  );

  it('and does not believe it, is a wrong configuration and no mail’s fault; its password is not told', async () => {
    const server = await given({ users });
    const error = await errorOf(mailerTo(server.url(userInfo('hunter2'))).send(anyMail()));
    expect(error).toBeInstanceOf(MailerMisconfiguredError);
    expect(error.message).toContain('535 5.7.8 who are you?');
    expect(JSON.stringify([error.message, error.stack, error.cause])).not.toContain('hunter2');
  });

  it('and is told nothing, the same', async () => {
    const server = await given({ users });
    const error = await errorOf(mailerTo(server.url()).send(anyMail()));
    expect(error).toBeInstanceOf(MailerMisconfiguredError);
    expect(error.message).toContain('530');
  });

  it('gets no password in the clear, unless it is this machine or the URL allows it', async () => {
    const server = await given({ users });
    const elsewhere = (query = ''): string =>
      server.url(userInfo('p@ss:wörd/?#'), query).replace('127.0.0.1', '0.0.0.0');
    expect(await errorOf(mailerTo(elsewhere()).send(anyMail()))).toBeInstanceOf(MailerMisconfiguredError);
    expect(server.received).toEqual([]);
    await mailerTo(elsewhere('?requireTLS=false')).send(anyMail());
    expect(server.received).toMatchObject([{ user: 'ada@lamps.example' }]);
  });
});

describe('a refusal', () => {
  it.each([
    ['RCPT', '550 5.1.1 <Ada@example.com>: no such user'],
    ['RCPT', '552 5.2.2 mailbox full'],
    ['RCPT', '553 5.1.3 what a name'],
    ['DATA', '554 5.7.1 looks like spam'],
    ['DATA', '552 5.3.4 too large'],
  ] as const)(
    'of this mail for good (%s: %s) is permanent, with the answer and without the address',
    async (command, reply) => {
      const server = await given();
      server.answer(command, reply);
      const error = await errorOf(mailerTo(server.url()).send(anyMail()));
      expect(error).toBeInstanceOf(MailRefusedError);
      expect(error.message).toContain(reply.replace('<Ada@example.com>', '<a…@example.com>'));
      expect(error.message).not.toMatch(/ada@/i);
    },
  );

  it('of one recipient keeps no other from getting mail', async () => {
    const server = await given();
    server.answer('RCPT', (address) => (address === 'gone@example.com' ? '550 5.1.1 no such user' : undefined));
    const mailer = mailerTo(server.url());
    await mailer.send(anyMail());
    await errorOf(mailer.send(anyMail({ to: 'gone@example.com' })));
    await mailer.send(anyMail());
    expect(server.received.map(({ to }) => to)).toEqual([['ada@example.com'], ['ada@example.com']]);
  });

  it.each([
    ['CONNECT', '554 5.3.2 no SMTP service here'],
    ['MAIL', '553 5.7.1 sender not owned'],
    ['MAIL', '530 5.7.0 authentication required'],
    ['RCPT', '530 5.7.0 authentication required'],
    ['RCPT', '554 5.7.1 <ada@example.com>: Relay access denied'],
    ['RCPT', '550 5.7.54 Unable to relay recipient in non-accepted domain'],
  ] as const)('of all that is ours (%s: %s) is a wrong configuration', async (command, reply) => {
    const server = await given();
    server.answer(command, reply);
    const error = await errorOf(mailerTo(server.url()).send(anyMail()));
    expect(error).toBeInstanceOf(MailerMisconfiguredError);
    expect(error.message).toContain(reply.slice(0, 10));
  });

  it.each([
    ['CONNECT', '421 4.3.2 shutting down'],
    ['MAIL', '421 4.7.0 too many mails'],
    ['MAIL', '451 4.3.0 try again'],
    ['RCPT', '421 4.3.2 shutting down'],
    ['DATA', '421 4.3.2 shutting down'],
  ] as const)(
    'for the moment, of whatever mail (%s: %s), is a server that is not available',
    async (command, reply) => {
      const server = await given();
      server.answer(command, reply);
      const error = await errorOf(mailerTo(server.url()).send(anyMail()));
      expect(error).toBeInstanceOf(UnavailableError);
      expect(error).not.toBeInstanceOf(MailerMisconfiguredError);
      expect(error.message).toContain(reply.slice(0, 3));
    },
  );

  it.each(['RCPT', 'DATA'] as const satisfies readonly SmtpCommand[])(
    'of this mail for the moment (%s: 451) is an attempt; the next one is taken, with the same Message-ID',
    async (command) => {
      const server = await given();
      server.answer(command, '451 4.7.1 greylisted');
      const mailer = mailerTo(server.url());
      const mail = anyMail();
      const error = await errorOf(mailer.send(mail));
      expect(error).not.toBeInstanceOf(MailRefusedError);
      expect(error).not.toBeInstanceOf(UnavailableError);
      server.answer(command, undefined);
      await mailer.send(mail);
      expect(server.received.map(({ parsed }) => parsed.messageId)).toEqual([`<${mail.id}@lamps.example>`]);
    },
  );
});

describe('a server that is away', () => {
  it('and refuses connections, is unavailable: nothing was sent', async () => {
    const server = await startSmtpServer();
    const url = server.url();
    await server.close();
    const error = await errorOf(mailerTo(url).send(anyMail()));
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error).toMatchObject({ outcomeUnknown: false });
  });

  it('by a name that nobody knows, is unavailable', async () => {
    const error = await errorOf(mailerTo('smtp://no-such-host.invalid').send(anyMail()));
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error).toMatchObject({ outcomeUnknown: false });
  });

  const limits: SmtpLimits = { connect: 400, silence: 600, whole: 1_500 };
  it.each([
    ['says nothing', ''],
    ['falls silent after its greeting', 'greeting'],
    ['falls silent after the mail', 'mail'],
    ['says next to nothing, for ever', 'trickle'],
  ] as const)('and %s, is unavailable when the limit is over', async (_, until) => {
    const server = await startSilentServer(until);
    cleanUp.push(server.close);
    const error = await errorOf(mailerTo(server.url, limits).send(anyMail()));
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error).not.toBeInstanceOf(MailerMisconfiguredError);
    expect(error).toMatchObject({ outcomeUnknown: until !== '' });
    expect(error.message).toContain(until === 'trickle' ? 'EABORT' : 'ETIMEDOUT');
  });

  it('as far as the job’s own limit is concerned, is given up at once', async () => {
    const server = await startSilentServer('greeting');
    cleanUp.push(server.close);
    const job = new AbortController();
    const sending = errorOf(mailerTo(server.url).send(anyMail(), job.signal));
    await server.asked;
    job.abort();
    expect(await sending).toBeInstanceOf(UnavailableError);
  });

  it('between the mail and its answer, may have taken it: the repeat has the same Message-ID', async () => {
    const server = await given();
    const proxy = await startTcpProxy({ host: '127.0.0.1', port: server.port });
    cleanUp.push(proxy.close);
    const mailer = mailerTo(`smtp://127.0.0.1:${proxy.port}`);
    const mail = anyMail({ id: newId() });
    proxy.loseAnswerTo(mail.id);
    const error = await errorOf(mailer.send(mail));
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error).toMatchObject({ outcomeUnknown: true });
    await mailer.send(mail);
    const id = `<${mail.id}@lamps.example>`;
    expect(server.received.map(({ parsed }) => parsed.messageId)).toEqual([id, id]);
  });
});
