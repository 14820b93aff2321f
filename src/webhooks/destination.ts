// What the outbox calls an endpoint.
import { isId } from '../domain/ids.ts';

/** Every endpoint's destination begins so, and no other. */
export const webhookPrefix = 'webhook:';

export const destinationOfEndpoint = (endpointId: string): string => `${webhookPrefix}${endpointId}`;

/** @returns undefined where the destination is none of an endpoint */
export function endpointIdOf(destination: string): string | undefined {
  const id = destination.slice(webhookPrefix.length);
  return destination.startsWith(webhookPrefix) && isId(id) && id === id.toLowerCase() ? id : undefined;
}
