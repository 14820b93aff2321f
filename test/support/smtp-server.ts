// A real SMTP server in the test's process. What it takes is read by mailparser, which knows nothing of who wrote it.
import { once } from 'node:events';
import { simpleParser, type ParsedMail } from 'mailparser';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';

export type ReceivedMail = Readonly<{
  parsed: ParsedMail;
  raw: string;
  /** By the envelope, whatever the headers say. */
  from: string;
  to: readonly string[];
  secure: boolean;
  user: string | undefined;
}>;
export type SmtpCommand = 'CONNECT' | 'MAIL' | 'RCPT' | 'DATA';

export type TestSmtpServer = Readonly<{
  port: number;
  /** `userInfo` as in `user:password@`. */
  url(userInfo?: string, query?: string): string;
  received: readonly ReceivedMail[];
  /** The one mail that it was to receive. */
  theMail(): ReceivedMail;
  /** From now on answers this to the command, or what is asked for each address; undefined: takes it. */
  answer(command: SmtpCommand, reply: string | undefined | ((address: string) => string | undefined)): void;
  /** How many connections it was asked for, and mails it was offered, be it in vain. */
  counts: Readonly<{ connections: number; offered: number }>;
  close(): Promise<void>;
}>;
export type TestSmtpOptions = Readonly<{
  port?: number;
  /** `plain`: no TLS at all. */
  tls?: 'offered' | 'from-the-start' | 'plain';
  /** Who may send; nobody needs to say who they are where this is unset. */
  users?: Readonly<Record<string, string>>;
}>;

export async function startSmtpServer(options: TestSmtpOptions = {}): Promise<TestSmtpServer> {
  const received: ReceivedMail[] = [];
  const counts = { connections: 0, offered: 0 };
  const answers = new Map<SmtpCommand, (address: string) => string | undefined>();
  const answerTo = (command: SmtpCommand, address = ''): Error | null => {
    const reply = answers.get(command)?.(address);
    return reply === undefined ? null : errorOf(reply);
  };
  const server = new SMTPServer({
    ...securityOf(options),
    onConnect: (_, callback) => {
      counts.connections += 1;
      callback(answerTo('CONNECT'));
    },
    onAuth: ({ username = '', password }, _, callback) => {
      const isRight = options.users?.[username] !== undefined && options.users[username] === password;
      callback(isRight ? null : errorOf('535 5.7.8 who are you?'), { user: username });
    },
    onMailFrom: ({ address }, _, callback) => callback(answerTo('MAIL', address)),
    onRcptTo: ({ address }, _, callback) => callback(answerTo('RCPT', address)),
    onData: (stream, session, callback) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.once('end', () => {
        counts.offered += 1;
        const refusal = answerTo('DATA');
        if (refusal !== null) return callback(refusal);
        const { mailFrom, rcptTo } = session.envelope;
        const raw = Buffer.concat(chunks);
        void simpleParser(raw).then((parsed) => {
          received.push({
            parsed,
            raw: raw.toString('latin1'),
            from: mailFrom === false ? '' : mailFrom.address,
            to: rcptTo.map(({ address }) => address),
            secure: session.secure,
            user: session.user,
          });
          callback(null, 'taken');
        }, callback);
      });
    },
  });
  // A client that leaves in the middle is part of some tests.
  server.on('error', () => undefined);
  const listening = server.listen(options.port ?? 0, '127.0.0.1');
  await once(listening, 'listening');
  const address = listening.address();
  if (typeof address !== 'object' || address === null) throw new Error('the SMTP server has no port');
  const scheme = options.tls === 'from-the-start' ? 'smtps' : 'smtp';
  return {
    port: address.port,
    url: (userInfo = '', query = '') => `${scheme}://${userInfo}127.0.0.1:${address.port}${query}`,
    received,
    theMail() {
      const [mail] = received;
      if (mail === undefined || received.length > 1) throw new Error(`${received.length} mails were received`);
      return mail;
    },
    answer: (command, reply) => void answers.set(command, typeof reply === 'function' ? reply : () => reply),
    counts,
    close: async () => await new Promise((resolve) => server.close(resolve)),
  };
}

/** Its certificate is one that nobody signed (the package's own): a client that checks it does not go on. */
function securityOf({ tls = 'plain', users }: TestSmtpOptions): SMTPServerOptions {
  return {
    secure: tls === 'from-the-start',
    hideSTARTTLS: tls === 'plain',
    disabledCommands: [...(tls === 'plain' ? ['STARTTLS'] : []), ...(users === undefined ? ['AUTH'] : [])],
    authOptional: users === undefined,
    allowInsecureAuth: true,
    disableReverseLookup: true,
    closeTimeout: 100,
    logger: false,
  };
}

/** `550 5.1.1 no such user` */
function errorOf(reply: string): Error {
  const [, code = '', text = ''] = /^(\d{3}) (.*)$/.exec(reply) ?? [];
  return Object.assign(new Error(text), { responseCode: Number(code) });
}
