// The cursor of the global log: the pair (ordering xid, position), opaque to clients. A position alone loses events
// that commit late.

export type LogCursor = Readonly<{ xid: string; position: string }>;
export const logStart: LogCursor = { xid: '0', position: '0' };

export const encodeCursor = (cursor: LogCursor): string =>
  Buffer.from(`${cursor.xid}.${cursor.position}`).toString('base64url');

const greatestXid = 2n ** 64n - 1n;
const greatestPosition = 2n ** 63n - 1n;

/** A place that the log's bigint column can hold, as text. */
export const isPosition = (text: string): boolean => /^\d{1,19}$/.test(text) && BigInt(text) <= greatestPosition;

/** @returns undefined where the text is no cursor of ours, so that whatever comes back fits the columns' types */
export function decodeCursor(text: string): LogCursor | undefined {
  const [, xid, position] = /^(\d{1,20})\.(\d+)$/.exec(Buffer.from(text, 'base64url').toString()) ?? [];
  if (xid === undefined || position === undefined) return undefined;
  if (BigInt(xid) > greatestXid || !isPosition(position)) return undefined;
  return encodeCursor({ xid, position }) === text ? { xid, position } : undefined;
}
