// The ports of one DATA_DIR. They are kept in ports.json, so that addresses and links stay good over restarts.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { StartupError } from '../platform/startup-error.ts';
import { findFreePort, holdPort, isFree } from './children/free-port.ts';

export type Ports = Readonly<{ api: number; postgres: number; temporal: number; temporalUi: number }>;

const port = z.number().int().min(1).max(65_535);
const portsFile = z.object({ api: port, postgres: port, temporal: port, temporalUi: port }).partial();

/** What an earlier start has chosen; nothing where the file is absent or broken, since ports can be chosen anew. */
export function keptPorts(folder: string): Readonly<z.infer<typeof portsFile>> {
  try {
    return portsFile.parse(JSON.parse(readFileSync(join(folder, 'ports.json'), 'utf8')));
  } catch {
    return {};
  }
}

export type ChosenPorts = Readonly<{
  ports: Ports;
  /** The API's port is held until this is called, right before the API listens: other parts start first. */
  releaseApi(): Promise<void>;
}>;

/**
 * Chooses the ports, all different and all free now, and keeps them. A kept port is chosen again if it is free. For
 * the API, `explicit` is taken as it is and not kept; otherwise its first choice is `api.port`.
 * @throws StartupError where an explicit port is taken.
 */
export async function choosePorts(
  folder: string,
  api: Readonly<{ port: number; explicit: boolean }>,
): Promise<ChosenPorts> {
  const kept = keptPorts(folder);
  const held = await holdApiPort(api.explicit ? [api.port] : [kept.api, api.port], api.explicit);
  const chosen: number[] = [held.port];
  const choose = async (wish: number | undefined): Promise<number> => {
    const isGood = wish !== undefined && !chosen.includes(wish) && (await isFree(wish));
    const port = isGood ? wish : await findFreePort(chosen);
    chosen.push(port);
    return port;
  };
  const others = {
    postgres: await choose(kept.postgres),
    temporal: await choose(kept.temporal),
    temporalUi: await choose(kept.temporalUi),
  };
  const keptApi = api.explicit ? kept.api : held.port;
  write(folder, { ...(keptApi === undefined ? {} : { api: keptApi }), ...others });
  return { ports: { api: held.port, ...others }, releaseApi: held.release };
}

type HeldPort = Readonly<{ port: number; release: () => Promise<void> }>;

async function holdApiPort(wishes: readonly (number | undefined)[], explicit: boolean): Promise<HeldPort> {
  for (const port of wishes) {
    const release = port === undefined ? undefined : await holdPort(port);
    if (port !== undefined && release !== undefined) return { port, release };
  }
  if (explicit) {
    throw new StartupError(
      `PORT ${wishes.join()} is taken by another program: stop that one, set PORT to another number, or unset it to have a free one chosen.`,
    );
  }
  return holdApiPort([await findFreePort()], false);
}

function write(folder: string, ports: Partial<Ports>): void {
  const file = join(folder, 'ports.json');
  writeFileSync(`${file}.new`, `${JSON.stringify(ports, undefined, 2)}\n`);
  renameSync(`${file}.new`, file);
}
