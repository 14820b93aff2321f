// Structured logs, one JSON line each.
import pino from 'pino';

export type Logger = pino.Logger;
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** To standard output, or to `file` (appended, created with its folder). Secrets in known places are struck out. */
export function createLogger(options: Readonly<{ level: LogLevel; role: string; file?: string }>): Logger {
  const redact = ['req.headers.authorization', 'req.headers["webhook-signature"]', '*.paymentsWebhookSecret'];
  const settings = { level: options.level, base: { role: options.role, pid: process.pid }, redact };
  if (options.file === undefined) return pino(settings);
  return pino(settings, pino.destination({ dest: options.file, mkdir: true, sync: false }));
}
