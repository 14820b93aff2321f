// The SMTP server away, or the relay that sends mail killed with -9: no mail is lost, nothing else waits for it.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sql } from 'kysely';
import { simpleParser } from 'mailparser';
import { afterEach, expect, it } from 'vitest';
import { findFreePort } from '../../../src/embedded/children/free-port.ts';
import { createUserCommands } from '../../../src/users/user-commands.ts';
import { createUserRepository } from '../../../src/users/user-repository.ts';
import { dueNow } from '../../support/jobs.ts';
import { welcomeMail } from '../../support/mails.ts';
import { createRoleProcesses, type RoleProcess, type RoleProcesses } from '../../support/role-process.ts';
import { eventually, metadata, startSagaService, type SagaService } from '../../support/saga-service.ts';
import { startSilentServer } from '../../support/silent-server.ts';
import { startSmtpServer, type TestSmtpServer } from '../../support/smtp-server.ts';

let service: SagaService;
let roles: RoleProcesses;
const cleanUp: (() => Promise<void>)[] = [];

afterEach(async () => {
  await roles.stop();
  for (const clean of cleanUp.toReversed()) await clean();
  cleanUp.length = 0;
  await service.stop();
});

async function given(options: Readonly<{ worker: boolean }>): Promise<void> {
  service = await startSagaService({ ...options, relay: false });
  roles = createRoleProcesses({ ...service.environment, MAIL_FROM: 'shop@lamps.example' });
}

const startRelay = async (smtpUrl: string): Promise<RoleProcess> => await roles.start('relay', { SMTP_URL: smtpUrl });

async function smtpAt(port: number): Promise<TestSmtpServer> {
  const server = await startSmtpServer({ port });
  cleanUp.push(server.close);
  return server;
}

type MailJob = Readonly<{ state: string; eventId: string; attempts: number }>;
const mailJobs = async (): Promise<readonly MailJob[]> =>
  (
    await sql<MailJob>`
      select state::text as state, data -> 'data' ->> 'eventId' as "eventId", retry_count + 1 as attempts
      from pgboss.job where name in ('send-mail', 'send-mail.dead')`.execute(service.parts.db)
  ).rows;
const enqueue = async (count: number): Promise<readonly string[]> => {
  const mails = Array.from({ length: count }, () => welcomeMail());
  for (const mail of mails) await service.parts.jobQueue.add('send-mail', mail);
  return mails.map(({ eventId }) => eventId);
};
/** Instead of waiting for the back-off. */
async function untilAllSent(): Promise<void> {
  await eventually(async () => {
    await dueNow(service.parts);
    return (await mailJobs()).every(({ state }) => state === 'completed') ? true : undefined;
  }, 90_000);
}
const idsOf = (server: TestSmtpServer): readonly string[] =>
  server.received.map(({ parsed }) => parsed.messageId ?? '').toSorted();
const messageIds = (eventIds: readonly string[]): readonly string[] =>
  eventIds.map((eventId) => `<${eventId}@lamps.example>`).toSorted();

/** A customer with an address, whose order is taken, paid and shipped: all that this needs but mail. */
async function orderOf(name: string): Promise<void> {
  const users = createUserCommands({ users: createUserRepository(service.parts) });
  const { userId } = await users.create({ email: `${name}@example.com` }, metadata);
  const orderId = await service.submit({ customerId: userId });
  await eventually(async () => {
    const shipment = await service.parts.db
      .selectFrom('shipments')
      .select('order_id')
      .where('order_id', '=', orderId)
      .executeTakeFirst();
    return shipment === undefined ? undefined : true;
  });
  expect(await service.order(orderId)).toMatchObject({ status: 'confirmed' });
}

it('for a minute the SMTP server refuses connections, then is silent: orders are paid and shipped; then each mail arrives once', async () => {
  await given({ worker: true });
  await service.stock(1000);
  const port = await findFreePort();
  const relay = await startRelay(`smtp://127.0.0.1:${port}`);

  const away = performance.now();
  let orders = 0;
  while (performance.now() - away < 30_000) await orderOf(`refused-${(orders += 1)}`);
  const silent = await startSilentServer('greeting', port);
  const quiet = performance.now();
  await dueNow(service.parts);
  await silent.asked;
  while (performance.now() - quiet < 30_000) {
    await dueNow(service.parts);
    await orderOf(`silent-${(orders += 1)}`);
  }
  expect(performance.now() - away).toBeGreaterThanOrEqual(60_000);
  const waiting = await mailJobs();
  expect(waiting).toHaveLength(2 * orders);
  expect(waiting.filter(({ state }) => !['created', 'retry', 'active'].includes(state))).toEqual([]);
  expect(Math.max(...waiting.map(({ attempts }) => attempts))).toBeGreaterThan(1);

  await silent.close();
  const server = await smtpAt(port);
  await untilAllSent();
  expect(idsOf(server)).toEqual(messageIds(waiting.map(({ eventId }) => eventId)));
  expect(relay.log().match(/"no mail goes out/g)).toHaveLength(1);
  expect(relay.log()).toContain('mail goes out again');
  expect(relay.log()).not.toMatch(/(?:refused|silent)-\d+@/);
});

it('a relay killed between a mail and the server’s answer: the next one sends it again, with the same Message-ID', async () => {
  await given({ worker: false });
  const silent = await startSilentServer('mail');
  const relay = await startRelay(silent.url);
  const [eventId = ''] = await enqueue(1);
  await eventually(async () => (silent.heard().endsWith('\r\n.\r\n') ? true : undefined));
  expect(silent.heard()).toContain(`Message-ID: <${eventId}@lamps.example>`);
  await relay.kill();
  await silent.close();

  const server = await smtpAt(silent.port);
  await startRelay(silent.url);
  await untilAllSent();
  expect(idsOf(server)).toEqual(messageIds([eventId]));
});

it('a relay killed while it writes mails to files: each file is whole, and in the end each mail is one', async () => {
  await given({ worker: false });
  const mailFolder = join(roles.dataDir, 'mail');
  const files = (): readonly string[] => {
    try {
      return readdirSync(mailFolder).filter((name) => name.endsWith('.eml'));
    } catch {
      return [];
    }
  };
  const readAll = async () =>
    await Promise.all(files().map(async (name) => await simpleParser(readFileSync(join(mailFolder, name)))));
  const eventIds = await enqueue(200);
  const relay = await roles.start('relay');
  await eventually(async () => (files().length >= 10 ? true : undefined));
  await relay.kill();
  expect(files().length).toBeLessThan(eventIds.length);
  for (const { text, html } of await readAll()) {
    expect(text).toMatch(/answers to this\s+address\.\n$/);
    expect(html).toMatch(/<\/html>\s*$/);
  }
  await roles.start('relay');
  await untilAllSent();
  const mails = await readAll();
  expect(mails.map(({ messageId }) => messageId ?? '').toSorted()).toEqual(messageIds(eventIds));
});
