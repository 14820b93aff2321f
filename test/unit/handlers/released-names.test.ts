// The names that inbox and checkpoints know handlers and subscriptions by. Under a new name the same handler repeats
// what is in flight, and the same subscription starts anew: so a released name stays, or a migration deals with it.
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { registerEventHandlers } from '../../../src/handlers/register-event-handlers.ts';
import { createMetricsRegistry } from '../../../src/platform/metrics.ts';
import { registerIntegrationHandlers } from '../../../src/handlers/register-integration-handlers.ts';
import { subscriptions } from '../../../src/processes/subscriptions.ts';
import released from '../../fixtures/released-names.json' with { type: 'json' };

/** A name that is gone → the migration that moves its rows to the new one, or deletes them. */
const retired: Readonly<Record<string, string>> = released.retired;
const isRetired = (name: string): boolean => Object.hasOwn(retired, name);

const handlers: (string | undefined)[] = [];
const record = (_type: string, _handler: unknown, options?: Readonly<{ name?: string }>): (() => void) => {
  handlers.push(options?.name);
  return () => undefined;
};
const eventBus = { subscribe: record, publish: async () => await Promise.resolve() };
registerEventHandlers(eventBus, {
  jobQueue: { add: async () => await Promise.resolve() },
  metricsRegistry: createMetricsRegistry(),
  userRepository: { find: async () => await Promise.resolve(undefined) },
});
registerIntegrationHandlers(eventBus, { queue: false });

describe.each([
  ['handlers', [...new Set(handlers)], released.handlers],
  ['subscriptions', subscriptions.map(({ name }) => name), released.subscriptions],
])('the names of the %s', (_, today, known) => {
  it('that were released are all there, or have a migration that deals with what is stored under them', () => {
    expect(known.filter((name) => !today.includes(name) && !isRetired(name))).toEqual([]);
  });

  it('of today are all in the list of the released ones, so that none can get lost later', () => {
    expect(today.filter((name) => name === undefined || !known.includes(name) || isRetired(name))).toEqual([]);
  });
});

it('a migration of a retired name is there, and names it', () => {
  for (const [name, migration] of Object.entries(retired)) {
    const file = new URL(`../../../migrations/${migration}`, import.meta.url);
    expect(existsSync(file), migration).toBe(true);
    expect(readFileSync(file, 'utf8')).toContain(name);
  }
});
