// The ports of one DATA_DIR. They are kept in ports.json, so that addresses and links stay good over restarts.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { StartupError } from '../platform/startup-error.ts';
import { findFreePort, isFree } from './children/free-port.ts';

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

/**
 * Chooses the ports, all different and all free now, and keeps them. A kept port is chosen again if it is free. For
 * the API, `explicit` is taken as it is and not kept; otherwise its first choice is `api.port`.
 * @throws StartupError where an explicit port is taken.
 */
export async function choosePorts(folder: string, api: Readonly<{ port: number; explicit: boolean }>): Promise<Ports> {
  if (api.explicit && !(await isFree(api.port))) {
    throw new StartupError(
      `PORT ${api.port} is taken by another program: stop that one, set PORT to another number, or unset it to have a free one chosen.`,
    );
  }
  const kept = keptPorts(folder);
  const chosen: number[] = api.explicit ? [api.port] : [];
  const choose = async (...wishes: readonly (number | undefined)[]): Promise<number> => {
    for (const wish of wishes) {
      if (wish === undefined || chosen.includes(wish) || !(await isFree(wish))) continue;
      chosen.push(wish);
      return wish;
    }
    const free = await findFreePort(chosen);
    chosen.push(free);
    return free;
  };
  const ports = {
    api: api.explicit ? api.port : await choose(kept.api, api.port),
    postgres: await choose(kept.postgres),
    temporal: await choose(kept.temporal),
    temporalUi: await choose(kept.temporalUi),
  };
  const { api: chosenApi, ...others } = ports;
  const keptApi = api.explicit ? kept.api : chosenApi;
  write(folder, { ...(keptApi === undefined ? {} : { api: keptApi }), ...others });
  return ports;
}

function write(folder: string, ports: Partial<Ports>): void {
  const file = join(folder, 'ports.json');
  writeFileSync(`${file}.new`, `${JSON.stringify(ports, undefined, 2)}\n`);
  renameSync(`${file}.new`, file);
}
