// `main.ts subscriptions …`: how far the read models are, and building one again from the log.
import { refuseForeignLog } from '../event-store/rebase-log.ts';
import { encodeCursor } from '../event-store/log-cursor.ts';
import { listSubscriptions, mostCounted, type SubscriptionState } from '../event-store/subscription-list.ts';
import { rebuildSubscription } from '../event-store/subscription.ts';
import { notifyLoops } from '../outbox/wake-up.ts';
import type { Subscription } from '../event-store/subscription.ts';
import type { Db } from '../platform/database.ts';
import { StartupError } from '../platform/startup-error.ts';
import { readOptions } from './command-options.ts';
import { extendSubscriptions, type Extension } from './extension.ts';
import { subscriptions as own } from './subscriptions.ts';
import { tableOf } from './table.ts';

export const subscriptionsUsage = 'usage: subscriptions list | subscriptions rebuild NAME; each takes --json';

export type SubscriptionsCommand = Readonly<{ json: boolean }> &
  (Readonly<{ kind: 'list' }> | Readonly<{ kind: 'rebuild'; name: string }>);

/** @throws StartupError one line, with the usage, where it is not to be understood */
export function parseSubscriptionsCommand(args: readonly string[]): SubscriptionsCommand {
  const { values, positionals } = readOptions({ args: [...args], options, allowPositionals: true }, wrong);
  const [verb, name, ...more] = positionals;
  const { json } = values;
  if (verb === 'list' && name === undefined) return { kind: 'list', json };
  if (verb === 'rebuild' && name !== undefined && more.length === 0) return { kind: 'rebuild', name, json };
  throw wrong();
}

const options = { json: { type: 'boolean', default: false } } as const;

const wrong = (why?: string): StartupError =>
  new StartupError(`${why === undefined ? '' : `${why}; `}${subscriptionsUsage}.`);

/** @returns what to print. @throws StartupError where no read model has that name */
export async function runSubscriptionsCommand(
  db: Db,
  command: SubscriptionsCommand,
  extensions: readonly Extension[] = [],
): Promise<string> {
  const subscriptions = extendSubscriptions(own, extensions);
  if (command.kind === 'list') {
    const states = await listSubscriptions(db);
    const never = neverRun(subscriptions, states);
    return command.json ? asJson({ subscriptions: states.map(forJson), neverRun: never }) : listed(states, never);
  }
  const { name } = command;
  const subscription = subscriptions.find((each) => each.name === name);
  if (subscription === undefined) {
    const names = subscriptions.map((each) => each.name).join(', ');
    throw new StartupError(`There is no subscription ${name}; there are ${names}.`);
  }
  await refuseForeignLog(db);
  await rebuildSubscription(db, subscription);
  await notifyLoops(db);
  if (command.json) return asJson({ name, rebuilding: true });
  return `${name} is empty and will be built again from the whole log by the relay; "subscriptions list" shows how far it is.\n`;
}

const asJson = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;
/** As `GET /events` takes it: what comes after is what the subscription has not applied. */
const forJson = ({ checkpoint, ...state }: SubscriptionState) => ({ ...state, checkpoint: encodeCursor(checkpoint) });
const neverRun = (subscriptions: readonly Subscription[], states: readonly SubscriptionState[]): readonly string[] =>
  subscriptions.flatMap(({ name }) => (states.some((state) => state.name === name) ? [] : [name]));

function listed(states: readonly SubscriptionState[], never: readonly string[]): string {
  const rows = states.map(({ name, checkpoint, lag, replaying }) => [
    name,
    checkpoint.position,
    lag === mostCounted ? `${lag} or more` : String(lag),
    replaying ? 'yes' : 'no',
  ]);
  const others = never.map((name) => [name, '', 'never run', 'no']);
  return tableOf(['NAME', 'CHECKPOINT', 'LAG', 'REPLAYING'], [...rows, ...others]);
}
