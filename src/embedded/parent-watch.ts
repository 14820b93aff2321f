// npm ended with kill -9 cannot pass a signal on, and would leave us running with nobody at the other end. npm scripts
// replace their shell (`exec node …`), so npm is our parent, and its end shows as another parent.

/**
 * Calls `onGone` once, within half a second of the parent's end, if npm has started this process.
 * @param deps.parentPid from when this process began: npm may have ended since.
 * @returns a function that ends the watch.
 */
export function watchParent(
  deps: Readonly<{ environment: NodeJS.ProcessEnv; onGone: () => void; everyMs?: number; parentPid?: number }>,
): () => void {
  if (deps.environment['npm_lifecycle_event'] === undefined) return () => undefined;
  const parent = deps.parentPid ?? process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    deps.onGone();
  }, deps.everyMs ?? 500);
  timer.unref();
  return () => clearInterval(timer);
}
