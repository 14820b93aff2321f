// The options of the commands that take more than their name, and asking for their usage.
import { parseArgs, type ParseArgsConfig } from 'node:util';

export const asksForHelp = (args: readonly string[]): boolean => args.some((arg) => arg === '--help' || arg === '-h');

/** @throws what `wrong` makes of the reason, where they do not fit */
export function readOptions<T extends ParseArgsConfig>(
  config: T,
  wrong: (why: string) => Error,
): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    // Node's first sentence names what does not fit; the second explains its own conventions.
    throw wrong((error instanceof Error ? error.message : String(error)).split('. ')[0] ?? '');
  }
}
