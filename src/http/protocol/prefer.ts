// The header Prefer (RFC 7240), as far as it concerns us: how long a client wants to wait.

/** Longer waits belong to the client: proxies and load balancers cut silent requests off at about a minute. */
const longestWaitSeconds = 30;

const preference = /(?:^|[,;])\s*([^\s=,;"]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|[^\s,;"]*))?/g;

/**
 * @returns the seconds of `wait`, 30 at most; undefined where none is asked for. What is not understood is ignored, and
 * of a preference that comes twice the first counts: both as the RFC says.
 */
export function waitOf(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  for (const [all, name, value] of header.matchAll(preference)) {
    // After a semicolon stands a parameter of another preference.
    if (all.startsWith(';') || name?.toLowerCase() !== 'wait') continue;
    const seconds = /^"?(\d{1,9})"?$/.exec(value ?? '')?.[1];
    return seconds === undefined ? undefined : Math.min(Number(seconds), longestWaitSeconds);
  }
  return undefined;
}
