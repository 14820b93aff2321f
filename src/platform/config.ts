// The only file that reads the environment. Everything else is handed what it needs.
import { z } from 'zod';
import { StartupError } from './startup-error.ts';

export const roles = [
  'api',
  'worker',
  'relay',
  'consumer',
  'all',
  'dev',
  'migrate',
  'rebase-log',
  'bundle',
  'outbox',
  'jobs',
  'subscriptions',
  'reconcile',
  'demo',
] as const;
export type Role = (typeof roles)[number];

const port = z.coerce.number().int().min(1).max(65_535);
const seconds = z.coerce.number().int().min(1).max(31_536_000);
const url = (...protocols: readonly string[]) =>
  z
    .string()
    .refine(
      (text) => URL.canParse(text) && protocols.includes(new URL(text).protocol),
      `must be a URL that starts with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`,
    );

/** `"Athyper Sagas" <no-reply@example.com>`, or the address alone. Its domain becomes part of each Message-ID. */
const mailbox = z.string().transform((text, context) => {
  const match = /^(?:"?([^"<>\p{Cc}]*?)"?\s*<([^<>]*)>|([^<>]*))$/u.exec(text.trim());
  const address = match?.[2] ?? match?.[3] ?? '';
  if (/^[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(address)) {
    return { name: match?.[1]?.trim() ?? '', address };
  }
  context.addIssue('must be an address, for example no-reply@example.com or "Shop" <no-reply@example.com>');
  return z.NEVER;
});

/** Every variable that the service knows. `.describe()` is what an error about it says. */
const environmentSchema = z.object({
  PORT: port.default(3000).describe('port of the HTTP API'),
  HOST: z.string().min(1).optional().describe('address to listen on; unset: all of them, in `dev` only this machine'),
  HEALTH_PORT: port
    .optional()
    .describe('port of /healthz, /readyz and /metrics in a worker, relay or consumer; unset: none'),
  DATABASE_URL: url('postgres:', 'postgresql:').optional().describe("the project's PostgreSQL"),
  DATABASE_DIRECT_URL: url('postgres:', 'postgresql:')
    .optional()
    .describe('for LISTEN, where DATABASE_URL is a pooler'),
  DATABASE_POOL_SIZE: z.coerce
    .number()
    .int()
    .min(2)
    .max(200)
    .default(10)
    .describe('connections of one process, at most'),
  REDIS_URL: url('redis:', 'rediss:').optional().describe('unset: the in-memory bus, in the relay'),
  TEMPORAL_ADDRESS: z
    .string()
    .regex(/^[^\s/:]+:\d+$|^\[[0-9a-fA-F:]+\]:\d+$/, 'must be host:port, for example 127.0.0.1:7233')
    .optional()
    .describe('host:port of the Temporal frontend'),
  TEMPORAL_NAMESPACE: z.string().min(1).default('default').describe('namespace of the sagas'),
  TEMPORAL_UI_URL: url('http:', 'https:')
    .optional()
    .describe('for links to runs; unset: port 8233 of the Temporal host'),
  TEMPORAL_TASK_QUEUE: z.string().min(1).default('orders').describe('task queue of the sagas'),
  WORKFLOW_BUNDLE: z
    .string()
    .min(1)
    .optional()
    .describe('file of the bundled workflows; unset: a worker bundles them when it starts'),
  PAYMENTS_WEBHOOK_SECRET: z
    .string()
    .regex(/^whsec_[A-Za-z0-9+/]{32,88}={0,2}$/, 'must be whsec_ and then 24 to 64 bytes in base64')
    .optional()
    .describe("secret of the payment gateway's callbacks (Standard Webhooks)"),
  PAYMENT_DEADLINE_SECONDS: seconds.default(900).describe('how long a saga waits for a pending payment'),
  STEP_LIMIT_SECONDS: seconds.default(900).describe('how long a saga step is retried before the saga gives up on it'),
  PARK_AFTER_SECONDS: seconds
    .default(120)
    .describe('how long an undo, or a step that only goes forward, is retried before it counts as parked'),
  PARKED_RETRY_SECONDS: seconds.default(60).describe('how often a parked step is tried again by itself'),
  VERIFICATION_REMINDER_SECONDS: seconds.default(86_400).describe('between two reminders to verify an address'),
  VERIFICATION_EXPIRY_SECONDS: seconds.default(604_800).describe('after which an address can no longer be verified'),
  SMTP_URL: url('smtp:', 'smtps:').optional().describe('server that mail leaves by; unset: files in DATA_DIR/mail'),
  MAIL_FROM: mailbox.default({ name: 'Athyper Sagas', address: 'no-reply@localhost' }).describe('whom mail is from'),
  WEBHOOKS_ALLOW_PRIVATE: z
    .enum(['true', 'false'])
    .optional()
    .describe('whether webhooks may go to private addresses and over http; unset: in `dev` only'),
  RECONCILE: z
    .enum(['repair', 'report', 'off'])
    .default('repair')
    .describe('what the schedule that workers make does every five minutes'),
  SHUTDOWN_GRACE_SECONDS: seconds.default(30).describe('what running work gets after SIGTERM'),
  DATA_DIR: z.string().min(1).default('.data').describe('folder of the embedded stack and its settings'),
  LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'silent'])
    .default('info')
    .describe('least level that is logged'),
  TEMPORAL_CLI: z.string().min(1).optional().describe('path of the Temporal CLI, for the embedded stack'),
  TEMPORAL_TEST_SERVER: z.string().min(1).optional().describe('path of the time-skipping test server, for tests'),
});

type Environment = z.infer<typeof environmentSchema>;
export const environmentVariables = Object.keys(environmentSchema.shape) as readonly (keyof Environment)[];

const needs: Readonly<Record<Role, readonly (keyof Environment)[]>> = {
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

/** What `dev` embeds or makes where it is unset, so that `dev` fills it in before the roles are composed. */
export type Settings = Readonly<{
  port: number;
  /** PORT was set by hand: then a taken port is an error and never evaded. */
  portIsExplicit: boolean;
  host: string | undefined;
  healthPort: number | undefined;
  databaseUrl: string | undefined;
  databaseDirectUrl: string | undefined;
  databasePoolSize: number;
  redisUrl: string | undefined;
  temporalAddress: string | undefined;
  temporalNamespace: string;
  temporalUiUrl: string | undefined;
  temporalTaskQueue: string;
  workflowBundle: string | undefined;
  paymentsWebhookSecret: string | undefined;
  paymentDeadlineSeconds: number;
  stepLimitSeconds: number;
  parkAfterSeconds: number;
  parkedRetrySeconds: number;
  verificationReminderSeconds: number;
  verificationExpirySeconds: number;
  /** Holds a password, maybe. */
  smtpUrl: string | undefined;
  mailFrom: Environment['MAIL_FROM'];
  webhooksAllowPrivate: boolean;
  reconcile: Environment['RECONCILE'];
  shutdownGraceSeconds: number;
  dataDir: string;
  logLevel: Environment['LOG_LEVEL'];
  temporalCli: string | undefined;
  temporalTestServer: string | undefined;
}>;

/**
 * Reads and checks the environment for one role.
 * @throws StartupError that names every variable that is missing or wrong, and what would be right.
 */
export function readSettings(role: Role, environment: NodeJS.ProcessEnv = process.env): Settings {
  // An empty value is how compose files and shells say "unset".
  const given = Object.fromEntries(environmentVariables.map((name) => [name, environment[name] || undefined]));
  const parsed = environmentSchema.safeParse(given);
  const wrong = parsed.success ? [] : parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  const missing = needs[role]
    .filter((name) => given[name] === undefined)
    .map((name) => `${name} is missing (${describe(name)})`);
  if (!parsed.success || missing.length > 0) {
    throw new StartupError(`Configuration of "${role}": ${[...missing, ...wrong].join('; ')}.`);
  }
  const values = parsed.data;
  return {
    port: values.PORT,
    portIsExplicit: given['PORT'] !== undefined,
    host: values.HOST,
    healthPort: values.HEALTH_PORT,
    databaseUrl: values.DATABASE_URL,
    databaseDirectUrl: values.DATABASE_DIRECT_URL,
    databasePoolSize: values.DATABASE_POOL_SIZE,
    redisUrl: values.REDIS_URL,
    temporalAddress: values.TEMPORAL_ADDRESS,
    temporalNamespace: values.TEMPORAL_NAMESPACE,
    temporalUiUrl: values.TEMPORAL_UI_URL,
    temporalTaskQueue: values.TEMPORAL_TASK_QUEUE,
    workflowBundle: values.WORKFLOW_BUNDLE,
    paymentsWebhookSecret: values.PAYMENTS_WEBHOOK_SECRET,
    paymentDeadlineSeconds: values.PAYMENT_DEADLINE_SECONDS,
    stepLimitSeconds: values.STEP_LIMIT_SECONDS,
    parkAfterSeconds: values.PARK_AFTER_SECONDS,
    parkedRetrySeconds: values.PARKED_RETRY_SECONDS,
    verificationReminderSeconds: values.VERIFICATION_REMINDER_SECONDS,
    verificationExpirySeconds: values.VERIFICATION_EXPIRY_SECONDS,
    smtpUrl: values.SMTP_URL,
    mailFrom: values.MAIL_FROM,
    webhooksAllowPrivate: (values.WEBHOOKS_ALLOW_PRIVATE ?? String(['dev', 'demo'].includes(role))) === 'true',
    reconcile: values.RECONCILE,
    shutdownGraceSeconds: values.SHUTDOWN_GRACE_SECONDS,
    dataDir: values.DATA_DIR,
    logLevel: values.LOG_LEVEL,
    temporalCli: values.TEMPORAL_CLI,
    temporalTestServer: values.TEMPORAL_TEST_SERVER,
  };
}

function describe(name: keyof Environment): string {
  return environmentSchema.shape[name].description ?? name;
}

/** The whole environment, for child processes and for looking up programs on PATH. */
export function inheritedEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env };
}

/** Where Temporal's dev server has its Web UI, unless TEMPORAL_UI_URL says otherwise. @param address as TEMPORAL_ADDRESS */
export function defaultTemporalUiUrl(address: string): string {
  const url = new URL(`http://${address}`);
  url.port = '8233';
  return url.origin;
}
