// Stands for a connection pooler in front of PostgreSQL, in what it does to LISTEN: refuses it, or takes it and never
// brings a NOTIFY, as one does that hands the session to somebody else after each transaction.
import { startTcpProxy, type Between, type TcpProxy } from './tcp-proxy.ts';

export type PoolerKind = 'refuses LISTEN' | 'brings no NOTIFY';

/** @param databaseUrl of the server behind it. @returns the same through the pooler */
export async function startPooler(
  databaseUrl: string,
  kind: PoolerKind,
): Promise<TcpProxy & Readonly<{ url: string }>> {
  const url = new URL(databaseUrl);
  const target = { host: url.hostname, port: Number(url.port) };
  const proxy = await startTcpProxy(target, () => (kind === 'refuses LISTEN' ? refusing() : silencing()));
  url.hostname = '127.0.0.1';
  url.port = String(proxy.port);
  return { ...proxy, url: url.href };
}

function refusing(): Between {
  const split = messages({ typed: false });
  return {
    fromServer: (bytes) => bytes,
    fromClient(bytes, answer) {
      const found = split(bytes);
      if (found.some(isListen)) answer(refusal);
      return Buffer.concat(found.filter((message) => !isListen(message)));
    },
  };
}

function silencing(): Between {
  const split = messages({ typed: true });
  return {
    fromClient: (bytes) => bytes,
    fromServer: (bytes) => Buffer.concat(split(bytes).filter((message) => typeOf(message) !== 'A')),
  };
}

const typeOf = (message: Buffer): string => String.fromCharCode(message[0] ?? 0);
const isListen = (message: Buffer): boolean => typeOf(message) === 'Q' && /^listen /i.test(message.toString('utf8', 5));

/** ErrorResponse and ReadyForQuery: as the server would, had it refused the statement itself. */
const refusal = Buffer.concat([
  framed('E', 'SERROR\0VERROR\0C0A000\0MLISTEN is not supported in transaction pooling\0\0'),
  framed('Z', 'I'),
]);

function framed(type: string, body: string): Buffer {
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(Buffer.byteLength(body) + 4, 1);
  return Buffer.concat([head, Buffer.from(body)]);
}

/** Cuts a stream into the protocol's messages, also where a read ends in one. The client's first has no type. */
function messages(first: Readonly<{ typed: boolean }>): (bytes: Buffer) => readonly Buffer[] {
  let rest = Buffer.alloc(0);
  let lengthAt = first.typed ? 1 : 0;
  return (bytes) => {
    rest = Buffer.concat([rest, bytes]);
    const found: Buffer[] = [];
    while (rest.length >= lengthAt + 4) {
      const end = lengthAt + rest.readInt32BE(lengthAt);
      if (rest.length < end) break;
      found.push(rest.subarray(0, end));
      rest = rest.subarray(end);
      lengthAt = 1;
    }
    return found;
  };
}
