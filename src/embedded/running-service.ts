// Where the service of this DATA_DIR answers while it runs, for `npm run demo` and for whoever wants to call it.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const schema = z.object({ apiUrl: z.url(), temporalUiUrl: z.url(), pid: z.int() });
export type ServiceAddresses = Readonly<Omit<z.infer<typeof schema>, 'pid'>>;

const path = (folder: string): string => join(folder, 'service.json');

/** @returns a function that forgets it, for an orderly end; after a crash it stays, and names a process that is gone */
export function announceService(folder: string, addresses: ServiceAddresses): () => void {
  writeFileSync(path(folder), `${JSON.stringify({ ...addresses, pid: process.pid }, null, 2)}\n`);
  return () => rmSync(path(folder), { force: true });
}

/** @returns undefined where no service of this folder answers */
export async function findService(folder: string): Promise<ServiceAddresses | undefined> {
  try {
    const addresses = schema.parse(JSON.parse(readFileSync(path(folder), 'utf8')));
    // After a crash another folder's service may answer at the same port: ours has died with its process.
    process.kill(addresses.pid, 0);
    const answer = await fetch(`${addresses.apiUrl}/healthz`, { signal: AbortSignal.timeout(2_000) });
    return answer.ok ? addresses : undefined;
  } catch {
    return undefined;
  }
}
