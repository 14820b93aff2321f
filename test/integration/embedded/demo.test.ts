// The demo against the whole service, as a person sees it.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findFreePort } from '../../../src/embedded/children/free-port.ts';
import { runDemo } from '../../../src/embedded/demo.ts';
import { StartupError } from '../../../src/platform/startup-error.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { createRoleProcesses, type RoleProcess, type RoleProcesses } from '../../support/role-process.ts';
import { services } from '../../support/services.ts';

let database: TestDatabase;
let roles: RoleProcesses;
let service: RoleProcess;

beforeAll(async () => {
  database = await createTestDatabase();
  const { temporalAddress, temporalUiUrl } = services();
  roles = createRoleProcesses({
    DATABASE_URL: database.url,
    TEMPORAL_ADDRESS: temporalAddress,
    TEMPORAL_UI_URL: temporalUiUrl,
    TEMPORAL_TASK_QUEUE: 'demo',
    PAYMENTS_WEBHOOK_SECRET: `whsec_${'a'.repeat(43)}=`,
  });
  service = await roles.start('all');
});
afterAll(async () => {
  await roles.stop();
  await database.drop();
});

const availableLamps = async (): Promise<unknown> => {
  const answer = await fetch(`${service.url}/products/demo-lamp`);
  return await answer.json();
};

test('four orders end in their four ways, each told step by step, and it can be played again', async () => {
  for (const time of [1, 2]) {
    const lines: string[] = [];
    const results = await runDemo({ apiUrl: service.url, print: (line) => lines.push(line) });
    expect(results.map(({ status }) => status)).toEqual(['confirmed', 'failed', 'failed', 'cancelled']);
    expect(results.map(({ expected }) => expected)).toEqual(results.map(({ status }) => status));
    expect(results.map(({ failureReason }) => failureReason?.split(':')[0])).toEqual([
      undefined,
      'payment-declined',
      'out-of-stock',
      undefined,
    ]);
    for (const { orderId, webUrl } of results) {
      expect(webUrl).toContain(`${services().temporalUiUrl}/namespaces/default/workflows/order-saga-${orderId}/`);
      expect(lines).toContain(`  ${webUrl}`);
    }
    expect(storyOf(lines, 1)).toEqual([
      'event order.created',
      'event order.item_added',
      'event order.submitted',
      'confirm done',
      'event order.confirmed',
    ]);
    // Who looks now and then may see the refusal before the undoing, or both at once.
    expect(storyOf(lines, 2)).toEqual(expect.arrayContaining(['charge refused', 'reserve undone']));
    expect(storyOf(lines, 2).at(-1)).toBe('event order.failed');
    expect(storyOf(lines, 3).slice(-2)).toEqual(['reserve refused', 'event order.failed']);
    expect(storyOf(lines, 4)).toContain('payment pending, and now the order is cancelled');
    expect(storyOf(lines, 4).at(-1)).toBe('event order.cancelled');
    expect(await availableLamps()).toMatchObject({ onHand: 100 - 2 * time, reserved: 0 });
  }
});

test('where no API answers, one line says what to do', async () => {
  const apiUrl = `http://127.0.0.1:${await findFreePort()}`;
  const demo = runDemo({ apiUrl, print: () => undefined });
  await expect(demo).rejects.toThrow(StartupError);
  await expect(demo).rejects.toThrow(`No API answers at ${apiUrl}: start it with npm start`);
});

test('a demo that is given up ends at once', async () => {
  const controller = new AbortController();
  const demo = runDemo({
    apiUrl: service.url,
    print: () => controller.abort(new Error('given up')),
    signal: controller.signal,
  });
  await expect(demo).rejects.toThrow('given up');
});

/** What order `number` went through, without times, and without the states that a quick saga does not show to everybody. */
function storyOf(lines: readonly string[], number: number): readonly string[] {
  const begin = lines.findIndex((line) => line.startsWith(`Order ${number} of 4`));
  const story = lines.slice(begin + 1).slice(
    0,
    lines.slice(begin + 1).findIndex((line) => !line.includes(' s  ')),
  );
  return story
    .map((line) => line.replace(/^ +\+\d+\.\d s +/, '').replace(/ +/g, ' '))
    .filter((line) => !/^(reserve|charge|confirm) (done|running)$/.test(line) || line === 'confirm done');
}
