// The configuration: what each role needs, and how it says what is missing or wrong.
import { describe, expect, it } from 'vitest';
import { environmentVariables, readSettings, roles, type Role } from '../../../src/platform/config.ts';
import { StartupError } from '../../../src/platform/startup-error.ts';

const complete = {
  DATABASE_URL: 'postgres://u:p@localhost:5432/athyper',
  TEMPORAL_ADDRESS: 'localhost:7233',
  REDIS_URL: 'redis://localhost:6379',
  WORKFLOW_BUNDLE: '/bundle.js',
  PAYMENTS_WEBHOOK_SECRET: `whsec_${Buffer.alloc(24, 1).toString('base64')}`,
};
type Name = keyof typeof complete;

const needs: Readonly<Record<Role, readonly Name[]>> = {
  api: ['DATABASE_URL', 'TEMPORAL_ADDRESS', 'PAYMENTS_WEBHOOK_SECRET'],
  worker: ['DATABASE_URL', 'TEMPORAL_ADDRESS'],
  relay: ['DATABASE_URL', 'TEMPORAL_ADDRESS'],
  consumer: ['DATABASE_URL', 'REDIS_URL'],
  all: ['DATABASE_URL', 'TEMPORAL_ADDRESS', 'PAYMENTS_WEBHOOK_SECRET'],
  migrate: ['DATABASE_URL'],
  'rebase-log': ['DATABASE_URL'],
  bundle: ['WORKFLOW_BUNDLE'],
  outbox: ['DATABASE_URL'],
  jobs: ['DATABASE_URL'],
  subscriptions: ['DATABASE_URL'],
  reconcile: ['DATABASE_URL', 'TEMPORAL_ADDRESS'],
  dev: [],
  demo: [],
};

function refusal(role: Role, environment: NodeJS.ProcessEnv): string {
  try {
    readSettings(role, environment);
  } catch (error) {
    expect(error).toBeInstanceOf(StartupError);
    return (error as StartupError).message;
  }
  throw new Error(`${role} was not refused`);
}

describe.each(roles)('the role %s', (role) => {
  const needed: readonly Name[] = needs[role];
  const enough = Object.fromEntries(needed.map((name) => [name, complete[name]]));

  it('starts with what it needs and nothing more', () => {
    expect(() => readSettings(role, enough)).not.toThrow();
  });

  if (needed.length > 0) {
    it('names everything that is missing at once, and what it is for', () => {
      const message = refusal(role, {});
      for (const name of needed) expect(message).toMatch(new RegExp(`\\b${name} is missing \\(.{5,}\\)`));
      expect(message).toContain(`"${role}"`);
    });

    it.each(needed)('does not start without %s, and then names no other', (name) => {
      const { [name]: _, ...rest } = enough;
      const message = refusal(role, rest);
      expect(message.match(/\w+ is missing/g)).toEqual([`${name} is missing`]);
    });
  }
});

describe('a value that is wrong', () => {
  it.each([
    ['PORT', 'http', /number/],
    ['PORT', '0', />=\s*1/],
    ['PORT', '70000', /<=\s*65535/],
    ['HEALTH_PORT', '1.5', /int/],
    ['DATABASE_URL', 'localhost:5432', /postgres:\/\/ or postgresql:\/\//],
    ['DATABASE_URL', 'mysql://localhost/x', /postgres:\/\/ or postgresql:\/\//],
    ['DATABASE_DIRECT_URL', 'http://localhost', /postgres:\/\//],
    ['DATABASE_POOL_SIZE', '1', />=\s*2/],
    ['REDIS_URL', 'localhost:6379', /redis:\/\/ or rediss:\/\//],
    ['TEMPORAL_ADDRESS', 'localhost', /host:port/],
    ['TEMPORAL_ADDRESS', 'http://localhost:7233', /host:port/],
    ['TEMPORAL_UI_URL', 'localhost:8233', /http:\/\/ or https:\/\//],
    ['PAYMENTS_WEBHOOK_SECRET', 'hunter2', /whsec_/],
    ['PAYMENTS_WEBHOOK_SECRET', 'whsec_short', /24 to 64 bytes/],
    ['PAYMENT_DEADLINE_SECONDS', '-1', />=\s*1/],
    ['STEP_LIMIT_SECONDS', 'soon', /number/],
    ['SMTP_URL', 'mail.example.com:25', /smtp:\/\/ or smtps:\/\//],
    ['MAIL_FROM', 'nobody', /must be an address/],
    ['MAIL_FROM', 'a@example.com\r\nBcc: b@example.com', /must be an address/],
    ['MAIL_FROM', '"A\nB" <a@example.com>', /must be an address/],
    ['MAIL_FROM', 'Shop <a@example.com>, b@example.com', /must be an address/],
    ['MAIL_FROM', 'Shop <a@exa mple.com>', /must be an address/],
    ['RECONCILE', 'on', /"repair"/],
    ['SHUTDOWN_GRACE_SECONDS', '0', />=\s*1/],
    ['LOG_LEVEL', 'loud', /"info"/],
  ])('of %s (%s) is named, with what would be right', (name, value, right) => {
    const message = refusal('api', { ...complete, [name]: value });
    expect(message).toMatch(new RegExp(`\\b${name}: `));
    expect(message).toMatch(right);
  });

  it('is not repeated in the message, since it may be a secret', () => {
    expect(refusal('api', { ...complete, PAYMENTS_WEBHOOK_SECRET: 'hunter2' })).not.toContain('hunter2');
    expect(refusal('api', { ...complete, DATABASE_URL: 'mysql://u:hunter2@h/x' })).not.toContain('hunter2');
    expect(refusal('api', { ...complete, SMTP_URL: 'http://u:hunter2@h' })).not.toContain('hunter2');
  });

  it('is told together with what is missing', () => {
    const message = refusal('api', { PORT: 'http' });
    expect(message).toMatch(/DATABASE_URL is missing/);
    expect(message).toMatch(/PORT: /);
  });

  it('matters also where the role could do without the variable', () => {
    expect(refusal('migrate', { ...complete, REDIS_URL: 'nonsense' })).toContain('REDIS_URL');
  });
});

describe('an empty value', () => {
  it('is an unset one: it is missing where it is needed, and otherwise the default', () => {
    expect(refusal('api', { ...complete, DATABASE_URL: '' })).toContain('DATABASE_URL is missing');
    const settings = readSettings('relay', { ...complete, PORT: '', REDIS_URL: '', LOG_LEVEL: '' });
    expect(settings).toMatchObject({ port: 3000, portIsExplicit: false, redisUrl: undefined, logLevel: 'info' });
  });
});

describe('the settings', () => {
  it('have the defaults that the design names', () => {
    expect(readSettings('dev', {})).toMatchObject({
      port: 3000,
      temporalNamespace: 'default',
      temporalTaskQueue: 'orders',
      paymentDeadlineSeconds: 900,
      dataDir: '.data',
      databaseUrl: undefined,
      redisUrl: undefined,
      temporalAddress: undefined,
      smtpUrl: undefined,
      mailFrom: { name: 'Athyper Sagas', address: 'no-reply@localhost' },
    });
  });

  it.each([
    ['shop@lamps.example', { name: '', address: 'shop@lamps.example' }],
    ['<shop@lamps.example>', { name: '', address: 'shop@lamps.example' }],
    ['Lámpás <shop@lamps.example>', { name: 'Lámpás', address: 'shop@lamps.example' }],
    [' "Lamps, and more"  <shop+no-reply@localhost> ', { name: 'Lamps, and more', address: 'shop+no-reply@localhost' }],
  ])('take %s for whom mail is from', (given, mailFrom) => {
    expect(readSettings('dev', { MAIL_FROM: given }).mailFrom).toEqual(mailFrom);
  });

  it('say whether the port was set by hand, be it to its default', () => {
    expect(readSettings('dev', { PORT: '3000' }).portIsExplicit).toBe(true);
    expect(readSettings('dev', {}).portIsExplicit).toBe(false);
  });

  it('take every variable that is documented', () => {
    const given = {
      ...complete,
      PORT: '8080',
      HOST: '127.0.0.1',
      HEALTH_PORT: '8081',
      DATABASE_DIRECT_URL: 'postgresql://h/x',
      DATABASE_POOL_SIZE: '20',
      TEMPORAL_NAMESPACE: 'n',
      TEMPORAL_UI_URL: 'https://ui',
      TEMPORAL_TASK_QUEUE: 'q',
      PAYMENT_DEADLINE_SECONDS: '5',
      STEP_LIMIT_SECONDS: '6',
      PARK_AFTER_SECONDS: '8',
      PARKED_RETRY_SECONDS: '9',
      VERIFICATION_REMINDER_SECONDS: '10',
      VERIFICATION_EXPIRY_SECONDS: '11',
      SMTP_URL: 'smtps://u:p@mail',
      MAIL_FROM: '"Lamps & More" <shop@lamps.example>',
      RECONCILE: 'report',
      WEBHOOKS_ALLOW_PRIVATE: 'true',
      SHUTDOWN_GRACE_SECONDS: '7',
      DATA_DIR: '/d',
      LOG_LEVEL: 'silent',
      TEMPORAL_CLI: '/cli',
      TEMPORAL_TEST_SERVER: '/server',
    };
    expect(Object.keys(given).toSorted()).toEqual(environmentVariables.toSorted());
    expect(readSettings('all', given)).toEqual({
      port: 8080,
      portIsExplicit: true,
      host: '127.0.0.1',
      healthPort: 8081,
      databaseUrl: complete.DATABASE_URL,
      databaseDirectUrl: 'postgresql://h/x',
      databasePoolSize: 20,
      redisUrl: complete.REDIS_URL,
      temporalAddress: complete.TEMPORAL_ADDRESS,
      temporalNamespace: 'n',
      temporalUiUrl: 'https://ui',
      temporalTaskQueue: 'q',
      workflowBundle: complete.WORKFLOW_BUNDLE,
      paymentsWebhookSecret: complete.PAYMENTS_WEBHOOK_SECRET,
      paymentDeadlineSeconds: 5,
      stepLimitSeconds: 6,
      parkAfterSeconds: 8,
      parkedRetrySeconds: 9,
      verificationReminderSeconds: 10,
      verificationExpirySeconds: 11,
      smtpUrl: 'smtps://u:p@mail',
      mailFrom: { name: 'Lamps & More', address: 'shop@lamps.example' },
      reconcile: 'report',
      webhooksAllowPrivate: true,
      shutdownGraceSeconds: 7,
      dataDir: '/d',
      logLevel: 'silent',
      temporalCli: '/cli',
      temporalTestServer: '/server',
    });
  });
});
