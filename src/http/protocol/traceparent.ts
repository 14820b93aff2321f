// W3C Trace Context: the header by which a caller says which trace its request belongs to.

const fields = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/**
 * As version 00, the one that we know: of a later version only the fields that both have.
 * @returns undefined where it is missing or not valid, which the standard wants ignored, for it is no reason to refuse
 */
export function parseTraceparent(header: string | undefined): string | undefined {
  const [, version, traceId, parentId, flags, more] = fields.exec(header ?? '') ?? [];
  if (version === undefined || (version === '00' && more !== undefined)) return undefined;
  return `00-${traceId}-${parentId}-${flags}`;
}
