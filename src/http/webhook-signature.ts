// Standard Webhooks 1.0, the receiving side: who sent these bytes, and are they fresh?
import { timingSafeEqual } from 'node:crypto';
import { digestOf, keyOf } from '../webhooks/signature.ts';

export type SignedMessage = Readonly<{
  id: string | undefined;
  timestamp: string | undefined;
  /** One or, while the sender changes its secret, several, each as `v1,<base64>`. */
  signatures: string | undefined;
  /** As they came: a body that was parsed and written again has another signature. */
  body: Buffer;
}>;
export type Verdict = Readonly<{ ok: true; id: string }> | Readonly<{ ok: false; why: string }>;

/** What the reference implementations allow, in both directions. */
const toleranceSeconds = 300;

/** @param secret `whsec_` and then base64 */
export function createSignatureCheck(
  deps: Readonly<{ secret: string; now: () => Date }>,
): (message: SignedMessage) => Verdict {
  const key = keyOf(deps.secret);
  if (key.length === 0) throw new RangeError('the webhook secret holds no key');
  return ({ id, timestamp, signatures, body }) => {
    if (!id || !timestamp || !signatures) {
      return { ok: false, why: 'webhook-id, webhook-timestamp and webhook-signature are needed' };
    }
    const seconds = /^\d{1,12}$/.test(timestamp) ? Number(timestamp) : Number.NaN;
    const age = Math.floor(deps.now().getTime() / 1000) - seconds;
    if (!(Math.abs(age) <= toleranceSeconds))
      return { ok: false, why: 'webhook-timestamp is not within five minutes of now' };
    const expected = digestOf(key, { id, timestamp, body });
    return signatures.split(' ').some((signature) => isSame(signature, expected))
      ? { ok: true, id }
      : { ok: false, why: 'no signature in webhook-signature fits' };
  };
}

function isSame(signature: string, expected: Buffer): boolean {
  if (!signature.startsWith('v1,')) return false;
  const given = Buffer.from(signature.slice(3), 'base64');
  return given.length === expected.length && timingSafeEqual(given, expected);
}
