import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { describe, expect, it } from 'vitest';
import { environmentVariables, readSettings, roles } from '../../../src/platform/config.ts';
import { asSeconds, ownServices, readComposeFile, root, variables } from './compose-file.ts';

// The Compose specification's JSON schema, unchanged: schema/compose-spec.json of compose-go v2.16.2
// (github.com/compose-spec/compose-go, Apache-2.0, Copyright 2020 The Compose Specification Authors).
const schema = JSON.parse(readFileSync(join(root, 'test/support/compose-spec.json'), 'utf8')) as object;
const ajv = new Ajv2020({ allErrors: true, strict: false, allowUnionTypes: true });
addFormats.default(ajv, ['duration', 'uri']);
const isValid = ajv.compile(schema);

const file = readComposeFile();
const own = ownServices(file);
const services = Object.entries(file.services);

describe('docker-compose.yml', () => {
  it('is valid against the schema of the Compose specification', () => {
    expect([isValid(file), isValid.errors]).toEqual([true, null]);
  });

  it('would not be with a misspelt key: the schema is really asked', () => {
    expect(isValid({ ...file, services: { api: { image: 'x', helthcheck: {} } } })).toBe(false);
  });

  it('refuses to start without any one of its secrets', () => {
    for (const name of Object.keys(variables)) {
      expect(() => readComposeFile({ ...variables, [name]: '' })).toThrow(`${name} is required`);
    }
  });

  it('names in depends_on, volumes and configs only what there is', () => {
    for (const [name, service] of services) {
      for (const other of Object.keys(service.depends_on ?? {})) {
        expect(Object.keys(file.services), `${name} depends on ${other}`).toContain(other);
      }
      for (const volume of service.volumes ?? []) expect(Object.keys(file.volumes)).toContain(volume.split(':')[0]);
      for (const config of service.configs ?? []) expect(Object.keys(file.configs)).toContain(config.source);
    }
  });

  it('waits for what can answer: a healthy service has a health check, a completed one does not restart for ever', () => {
    for (const [name, service] of services) {
      for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
        const target = file.services[other];
        const says = `${name} waits for ${other}`;
        if (condition === 'service_healthy') expect(target?.healthcheck, says).toBeDefined();
        if (condition === 'service_completed_successfully')
          expect(target?.restart, says).toMatch(/^(no|on-failure:\d+)$/);
      }
    }
  });

  it('gives Temporal a PostgreSQL, a password and a volume of its own', () => {
    const servers = services.filter(([, service]) => service.image?.startsWith('postgres:'));
    expect(servers.map(([name]) => name)).toEqual(['postgres', 'temporal-postgres']);
    expect(new Set(servers.map(([, service]) => service.volumes?.join())).size).toBe(2);
    expect(new Set(servers.map(([, service]) => service.environment?.['POSTGRES_PASSWORD'])).size).toBe(2);
    expect(file.services['temporal']?.environment?.['POSTGRES_SEEDS']).toBe('temporal-postgres');
    for (const [, service] of own) expect(service.environment?.['DATABASE_URL']).toContain('@postgres:5432/');
  });

  it('keeps what PostgreSQL 18 and Redis write, and lets Redis forget nothing', () => {
    expect(file.services['postgres']?.image).toMatch(/^postgres:18/);
    expect(file.services['postgres']?.volumes).toEqual(['postgres-data:/var/lib/postgresql']);
    expect(file.services['redis']?.command?.join(' ')).toContain('--appendonly yes --appendfsync always');
    expect(file.services['redis']?.command?.join(' ')).toContain('--maxmemory-policy noeviction');
  });

  it('uses no deprecated image, and pins every one', () => {
    for (const [name, { image = '' }] of services.filter(([, service]) => service.build === undefined)) {
      expect(image, name).not.toContain('auto-setup');
      expect(image, name).toMatch(/:\d+(\.\d+)*(-[a-z]+)?$/);
    }
  });

  it('registers the search attributes that the sagas set', () => {
    const script = file.services['temporal-namespace']?.command?.join('\n') ?? '';
    for (const name of ['OrderId', 'CustomerId', 'TenantId', 'SagaStatus', 'SagaStep']) expect(script).toContain(name);
  });

  it('publishes nothing beyond this machine', () => {
    const ports = services.flatMap(([, service]) => service.ports ?? []);
    expect(ports.length).toBeGreaterThan(0);
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/);
  });
});

describe("the project's services", () => {
  it('are the four roles and the migration', () => {
    expect(own.map(([name]) => name).toSorted()).toEqual(['api', 'consumer', 'migrate', 'relay', 'worker']);
  });

  it.each(own)(
    '%s is given only variables that the configuration knows, and all that its role needs',
    (name, service) => {
      const environment = service.environment ?? {};
      expect(environmentVariables).toEqual(expect.arrayContaining(Object.keys(environment)));
      const role = roles.find((candidate) => candidate === service.command?.join(' '));
      expect(role).toBe(name);
      const asText = Object.fromEntries(Object.entries(environment).map(([key, value]) => [key, String(value)]));
      expect(() => readSettings(role ?? 'dev', asText)).not.toThrow();
    },
  );

  it.each(own.filter(([name]) => name !== 'migrate'))(
    '%s is asked for its health at the port it listens on',
    (name, service) => {
      const [address, port] =
        name === 'api'
          ? ['/readyz', service.environment?.['PORT']]
          : ['/healthz', service.environment?.['HEALTH_PORT']];
      expect(service.healthcheck?.test.join(' ')).toContain(`http://127.0.0.1:${port}${address}`);
    },
  );

  it.each(own)('%s gets more time to stop than it takes', (_, service) => {
    expect(asSeconds(service.stop_grace_period)).toBeGreaterThan(
      Number(service.environment?.['SHUTDOWN_GRACE_SECONDS']),
    );
  });

  it('hands the webhook secret to nobody but the API', () => {
    const holders = own.filter(([, service]) => 'PAYMENTS_WEBHOOK_SECRET' in (service.environment ?? {}));
    expect(holders.map(([name]) => name)).toEqual(['api']);
  });

  it('hands the address of the SMTP server, which may hold a password, to nobody but who sends mail', () => {
    const holders = own.filter(([, service]) => 'SMTP_URL' in (service.environment ?? {}));
    expect(holders.map(([name]) => name)).toEqual(['consumer']);
  });
});
