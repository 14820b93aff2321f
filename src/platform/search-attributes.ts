// A start with a search attribute that the namespace does not know fails, so they are registered at boot.
import type { Client } from '@temporalio/client';
import { withDeadline } from './temporal-client.ts';

/** temporal.api.enums.v1.IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD */
const keyword = 2;
const callMilliseconds = 10_000;

/** Registers what is missing. @throws where an attribute is there with another type, or Temporal refuses */
export async function ensureSearchAttributes(
  client: Client,
  namespace: string,
  names: readonly string[],
): Promise<void> {
  const { operatorService } = client.connection as { operatorService?: OperatorService };
  if (operatorService === undefined) throw new Error('this connection has no operator service');
  const known = await withDeadline(
    client,
    callMilliseconds,
    async () => await operatorService.listSearchAttributes({ namespace }),
  );
  const types = known.customAttributes ?? {};
  const wrong = names.filter((name) => types[name] !== undefined && types[name] !== keyword);
  if (wrong.length > 0)
    throw new Error(`search attributes ${wrong.join(', ')} must be of type Keyword in ${namespace}`);
  const missing = names.filter((name) => types[name] === undefined);
  if (missing.length === 0) return;
  await withDeadline(client, callMilliseconds, async () =>
    operatorService.addSearchAttributes({
      namespace,
      searchAttributes: Object.fromEntries(missing.map((name) => [name, keyword])),
    }),
  );
}

type OperatorService = Readonly<{
  listSearchAttributes(request: { namespace: string }): Promise<{ customAttributes?: Record<string, number> | null }>;
  addSearchAttributes(request: { namespace: string; searchAttributes: Record<string, number> }): Promise<unknown>;
}>;
