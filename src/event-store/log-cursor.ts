// The cursor of the global log: the pair (ordering xid, position), opaque to clients. A position alone loses events
// that commit late.

export type LogCursor = Readonly<{ xid: string; position: string }>;
export const logStart: LogCursor = { xid: '0', position: '0' };

export const encodeCursor = (cursor: LogCursor): string =>
  Buffer.from(`${cursor.xid}.${cursor.position}`).toString('base64url');

/** @returns undefined where the text is no cursor of ours */
export function decodeCursor(text: string): LogCursor | undefined {
  const match = /^(\d{1,20})\.(\d{1,19})$/.exec(Buffer.from(text, 'base64url').toString());
  const [, xid, position] = match ?? [];
  return xid === undefined || position === undefined ? undefined : { xid, position };
}
