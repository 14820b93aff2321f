// What a team adds to the service without editing a file of it: event types, handlers, read models, and their tables.
import type { Migration } from 'kysely/migration';
import type { EventOfCatalogue } from '../bus/catalogue-types.ts';
import type { EventBus } from '../bus/durable-event-bus.ts';
import { catalogue } from '../domain/catalogue.ts';
import type { CatalogueEntry, EventCatalogue, StoredEvent } from '../domain/event.ts';
import type { jobCatalogue } from '../domain/job-catalogue.ts';
import type { Routes } from '../event-store/append.ts';
import type { Subscription, SubscriptionContext } from '../event-store/subscription.ts';
import type { JobQueue } from '../jobs/job-queue.ts';
import type { Logger } from '../platform/logger.ts';
import type { MetricsRegistry } from '../platform/metrics.ts';
import { StartupError } from '../platform/startup-error.ts';
import { destinations, eventRoutes } from '../sagas/event-routes.ts';

/**
 * `routes`: where events of this type are delivered, the bus when nothing stands here; `[]` is the log alone, for
 * subscriptions. Temporal is none of them: what starts or signals a saga stands in src/sagas, beside that saga.
 */
export type TeamEntry = CatalogueEntry & Readonly<{ routes?: readonly (typeof destinations.bus)[] }>;
export type TeamCatalogue = Readonly<Record<string, TeamEntry>>;

/** What handlers get beside their transaction. The queue takes the service's jobs: a mail, for one. */
export type HandlerDeps = Readonly<{
  jobQueue: JobQueue<typeof jobCatalogue>;
  metricsRegistry: MetricsRegistry;
  logger: Logger;
}>;

/** As the service runs it; `defineExtension` makes one out of an `ExtensionOf`, which knows its own event types. */
export type Extension = Readonly<{
  /** Lower case letters, digits and `_`, the first a letter. Stable for ever: its migrations are kept under it. */
  name: string;
  /** By type, which none of the service's is, nor another extension's. */
  events?: TeamCatalogue;
  /**
   * By name, in whose order they are run, by `migrate`, after the service's own and apart from them. All that are new
   * commit, or none does. They make the extension's tables, and leave the service's alone.
   */
  migrations?: Readonly<Record<string, Migration>>;
  /** Once in each process that runs handlers: `relay`, or with Redis `consumer`. */
  handlers?: (eventBus: EventBus<EventCatalogue>, deps: HandlerDeps) => void;
  /** By names that neither the service's nor another extension's have. */
  subscriptions?: readonly Subscription[];
}>;

/** The service's catalogue and the extension's own. */
export type CatalogueWith<C extends TeamCatalogue> = typeof catalogue & C;

export type SubscriptionOf<C extends TeamCatalogue> = Omit<Subscription, 'apply'> &
  Readonly<{
    /** As `Subscription.apply`. */
    apply(event: StoredEvent<EventOfCatalogue<CatalogueWith<C>>>, context: SubscriptionContext): Promise<void>;
  }>;

export type ExtensionOf<C extends TeamCatalogue> = Omit<Extension, 'events' | 'handlers' | 'subscriptions'> &
  Readonly<{
    events?: C;
    handlers?: (eventBus: EventBus<CatalogueWith<C>>, deps: HandlerDeps) => void;
    subscriptions?: readonly SubscriptionOf<C>[];
  }>;

export type ExtendedCatalogue = Readonly<{ catalogue: EventCatalogue; routes: Routes }>;

/** @throws StartupError where a name is none, or is taken, or an event type is taken */
export function extendCatalogue(extensions: readonly Extension[]): ExtendedCatalogue {
  checkNames(extensions);
  const entries = new Map<string, CatalogueEntry>(Object.entries(catalogue));
  const routes = new Map<string, readonly string[]>(Object.entries(eventRoutes));
  const ownerOf = new Map(Object.keys(catalogue).map((eventType) => [eventType, 'the service']));
  for (const { name, events = {} } of extensions) {
    for (const [eventType, entry] of Object.entries(events)) {
      const owner = ownerOf.get(eventType);
      if (owner !== undefined) {
        throw new StartupError(`The event type ${eventType} of the extension ${name} belongs to ${owner} already.`);
      }
      ownerOf.set(eventType, `the extension ${name}`);
      entries.set(eventType, entry);
      routes.set(eventType, entry.routes ?? [destinations.bus]);
    }
  }
  return { catalogue: Object.fromEntries(entries), routes: Object.fromEntries(routes) };
}

/** With the service's own. @throws StartupError where two have the same name: they would share a checkpoint */
export function extendSubscriptions(
  own: readonly Subscription[],
  extensions: readonly Extension[],
): readonly Subscription[] {
  const all = [...own, ...extensions.flatMap(({ subscriptions = [] }) => subscriptions)];
  const twice = all.find(({ name }, index) => all.findIndex((other) => other.name === name) < index);
  if (twice !== undefined) throw new StartupError(`Two subscriptions have the name ${twice.name}.`);
  return all;
}

function checkNames(extensions: readonly Extension[]): void {
  const names = extensions.map(({ name }) => name);
  for (const [index, name] of names.entries()) {
    if (!/^[a-z][a-z0-9_]{0,31}$/.test(name)) {
      const right = 'at most 32 lower case letters, digits and _, the first a letter';
      throw new StartupError(`"${name}" is no name for an extension: ${right}.`);
    }
    if (name === 'kysely') throw new StartupError('"kysely" is no name for an extension: the migrations have it.');
    if (names.indexOf(name) < index) throw new StartupError(`Two extensions have the name ${name}.`);
  }
}
