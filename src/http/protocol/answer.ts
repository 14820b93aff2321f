// What a route answers, as a value: it can be stored for a retry of the same request before it is sent.

export type Answer = Readonly<{ status: number; headers: Readonly<Record<string, string>>; body: string | undefined }>;

export function jsonAnswer(status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): Answer {
  return { status, headers: { 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(value) };
}

export const emptyAnswer: Answer = { status: 204, headers: {}, body: undefined };
