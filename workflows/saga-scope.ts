// Work in a scope of its own, inside of a saga that is shielded from every cancellation.
import { CancellationScope, condition } from '@temporalio/workflow';

/** Cancels the work's scope when `isOver` becomes true, and waits for its end all the same. */
export async function runUntil<T>(work: () => Promise<T>, isOver: () => boolean): Promise<T> {
  const scope = new CancellationScope();
  let finished = false;
  const watching = condition(() => finished || isOver()).then(() => {
    if (!finished) scope.cancel();
  });
  try {
    return await scope.run(work);
  } finally {
    finished = true;
    await watching;
  }
}
