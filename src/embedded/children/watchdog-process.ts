// The watchdog's own program (see ../watchdog.ts). It reads orders from its standard input, and acts only when that
// ends without the order "done".
import { rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import type { WatchdogOrder } from '../watchdog.ts';
import { isRunning, signalProcess } from './process-identity.ts';

type Adopted = Extract<WatchdogOrder, { order: 'adopt' }>;

/** How long a child gets for each of its signals. With three signals the last is sent after 6 s. */
const patienceMs = 3000;

// Whoever wants to stop the service stops the main process; the watchdog follows it in any case.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

const children: Adopted[] = [];
const leftovers: string[] = [];
let done = false;
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line) as WatchdogOrder;
  if (order.order === 'adopt') children.push(order);
  else if (order.order === 'remove') leftovers.push(order.path);
  else done = true;
}
if (!done) {
  await Promise.all(children.map(stop));
  for (const path of leftovers) rmSync(path, { recursive: true, force: true });
}

async function stop(child: Adopted): Promise<void> {
  for (const signal of child.signals) {
    signalProcess(child.child, signal);
    for (const limit = Date.now() + patienceMs; Date.now() < limit; await delay(25)) {
      if (!isRunning(child.child)) return;
    }
  }
}
