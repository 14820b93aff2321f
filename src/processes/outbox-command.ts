// `main.ts outbox …`: what waits, what is dead, and what to do about it, for an operator with a shell. Over all tenants.
import { z } from 'zod';
import { isId } from '../domain/ids.ts';
import {
  holdDestination,
  listDeliveries,
  resendDelivered,
  retryDeadLetters,
  type DeliveryView,
} from '../outbox/outbox-admin.ts';
import { notifyLoops } from '../outbox/wake-up.ts';
import type { Db } from '../platform/database.ts';
import { StartupError } from '../platform/startup-error.ts';
import { afterDeadLetter, isDestination } from '../sagas/event-routes.ts';
import { endpointIdOf } from '../webhooks/destination.ts';
import { endpointExists } from '../webhooks/endpoint-state.ts';
import { readOptions } from './command-options.ts';
import { tableOf } from './table.ts';

export const outboxUsage =
  'usage: outbox list [--destination D] [--state pending|dead] [--limit N] | outbox retry EVENT_ID DESTINATION | ' +
  'outbox retry DESTINATION --all | outbox resend DESTINATION --since TIME | outbox pause DESTINATION | outbox resume DESTINATION; each takes --json';

type Output = Readonly<{ json: boolean }>;
export type OutboxCommand = Output &
  (
    | Readonly<{
        kind: 'list';
        destination: string | undefined;
        state: 'pending' | 'dead' | undefined;
        limit: number;
      }>
    | Readonly<{ kind: 'retry'; destination: string; eventId: string | undefined }>
    | Readonly<{ kind: 'resend'; destination: string; since: Date }>
    | Readonly<{ kind: 'hold'; destination: string; paused: boolean }>
  );

const destinations = Object.keys(afterDeadLetter);
const blocking = Object.entries(afterDeadLetter).flatMap(([name, policy]) => (policy === 'block' ? [name] : []));
const defaultLimit = '100';

const options = {
  destination: { type: 'string' },
  state: { type: 'string' },
  limit: { type: 'string' },
  all: { type: 'boolean' },
  since: { type: 'string' },
  json: { type: 'boolean', default: false },
} as const;

/** @throws StartupError one line, with the usage, where it is not to be understood */
export function parseOutboxCommand(args: readonly string[]): OutboxCommand {
  const { values, positionals } = readOptions({ args: [...args], options, allowPositionals: true }, wrong);
  const [verb, ...names] = positionals;
  const { json, all = false } = values;
  if (verb !== 'list' && (values.destination ?? values.state ?? values.limit) !== undefined) throw wrong();
  if ((verb !== 'retry' && all) || (verb !== 'resend' && values.since !== undefined)) throw wrong();
  const [first, second] = names;
  switch (verb) {
    case 'list': {
      if (names.length > 0) throw wrong();
      const destination = values.destination === undefined ? undefined : known(values.destination);
      return { kind: 'list', destination, state: stateOf(values.state), limit: limitOf(values.limit), json };
    }
    case 'retry':
      if (first === undefined || names.length !== (all ? 1 : 2)) throw wrong();
      if (all) return { kind: 'retry', destination: known(first), eventId: undefined, json };
      if (!isId(first)) throw wrong(`${first} is no event's id`);
      return { kind: 'retry', destination: known(second ?? ''), eventId: first, json };
    case 'resend':
      if (first === undefined || names.length !== 1) throw wrong();
      return { kind: 'resend', destination: known(first), since: timeOf(values.since), json };
    case 'pause':
    case 'resume':
      if (first === undefined || names.length !== 1) throw wrong();
      return { kind: 'hold', destination: known(first), paused: verb === 'pause', json };
    default:
      throw wrong();
  }
}

const wrong = (why?: string): StartupError => new StartupError(`${why === undefined ? '' : `${why}; `}${outboxUsage}.`);

/** A misspelt one would be held for ever without anybody noticing. */
function known(destination: string): string {
  if (isDestination(destination) || endpointIdOf(destination) !== undefined) return destination;
  const known = [...destinations, 'webhook:ID of each endpoint'].join(', ');
  throw wrong(`there is no destination ${destination}, there are ${known}`);
}

/** What the text alone does not tell. */
async function knownToDatabase(db: Db, destination: string): Promise<string> {
  const endpointId = endpointIdOf(destination);
  if (endpointId === undefined || (await endpointExists(db, endpointId))) return destination;
  throw new StartupError(`There is no webhook endpoint ${endpointId}.`);
}

function stateOf(text: string | undefined): 'pending' | 'dead' | undefined {
  if (text === undefined || text === 'pending' || text === 'dead') return text;
  throw wrong(`there is no state ${text}`);
}

/** With its zone: whose midnight is meant is not to be guessed. */
function timeOf(text = ''): Date {
  if (z.iso.datetime({ offset: true }).safeParse(text).success) return new Date(text);
  throw wrong('--since wants a time as 2026-01-31T12:00:00Z');
}

function limitOf(text = defaultLimit): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw wrong(`--limit ${text} is not a number from 1 to 999999`);
}

/**
 * Relays that run are woken; they take up what is sent again, or stop claiming what is held, at once.
 * @returns what to print
 * @throws StartupError where there is no such dead letter
 */
export async function runOutboxCommand(db: Db, command: OutboxCommand): Promise<string> {
  switch (command.kind) {
    case 'list': {
      const { destination, state, limit } = command;
      const { deliveries, next } = await listDeliveries(db, {
        tenantId: undefined,
        destination,
        state,
        limit,
        blocking,
      });
      if (command.json) return asJson({ deliveries, more: next !== undefined });
      return listed(deliveries) + (next === undefined ? '' : `… and more: --limit shows more than ${limit}.\n`);
    }
    case 'retry': {
      const { eventId } = command;
      const destination = await knownToDatabase(db, command.destination);
      const retried = await retryDeadLetters(db, { tenantId: undefined, destination, eventId });
      if (retried === 0 && eventId !== undefined) {
        throw new StartupError(`Event ${eventId} is no dead letter of ${destination}.`);
      }
      await notifyLoops(db);
      if (command.json) return asJson({ destination, retried });
      return `${retried} dead ${retried === 1 ? 'letter' : 'letters'} of ${destination} will be sent again.\n`;
    }
    case 'resend': {
      const { since } = command;
      const destination = await knownToDatabase(db, command.destination);
      const resent = await resendDelivered(db, { destination, since });
      await notifyLoops(db);
      if (command.json) return asJson({ destination, resent });
      return `${resent} ${resent === 1 ? 'delivery' : 'deliveries'} of ${destination} will be made again.\n`;
    }
    case 'hold': {
      const { paused } = command;
      const destination = await knownToDatabase(db, command.destination);
      await holdDestination(db, destination, paused);
      await notifyLoops(db);
      if (command.json) return asJson({ destination, paused });
      return paused
        ? `${destination} is paused: it gets nothing until it is resumed.\n`
        : `${destination} is resumed.\n`;
    }
  }
}

const asJson = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

const head = ['EVENT ID', 'DESTINATION', 'TYPE', 'AGGREGATE', 'VERSION', 'STATE', 'ATTEMPTS', 'CREATED', 'LAST ERROR'];
/** Of an error; --json has all of it. */
const mostCharacters = 100;

function listed(deliveries: readonly DeliveryView[]): string {
  if (deliveries.length === 0) return 'There is none.\n';
  const rows = deliveries.map((delivery) => [
    delivery.eventId,
    delivery.destination,
    delivery.eventType,
    delivery.aggregateId,
    String(delivery.version),
    delivery.waitsForEarlier ? 'waiting' : delivery.state,
    String(delivery.attempts),
    delivery.createdAt.toISOString(),
    (delivery.lastError ?? '').replaceAll(/\s+/g, ' ').slice(0, mostCharacters),
  ]);
  return tableOf(head, rows);
}
