// What a team's own files import of this service: an extension is defined here, and the service is run with it.
// Everything heavy is loaded on demand, so that a command which looks something up need not wait for it.
import type { EmbeddedService } from './embedded-service.ts';
import type { Extension, ExtensionOf, TeamCatalogue } from './extension.ts';

/**
 * Typed by its own events and the service's: a misspelt type, or a payload of another shape, does not compile. Nothing
 * is registered here; the extension does its part in the processes that are run with it. That must be all of them:
 * one without it stops at its events where it reads the log, and makes dead letters of them where it delivers.
 */
// Without events no type is added.
// oxlint-disable-next-line typescript/no-generated-empty-object-type
export function defineExtension<const C extends TeamCatalogue = Record<never, never>>(
  extension: ExtensionOf<C>,
): Extension {
  // Its handlers and subscriptions get events of their types only, decoded by the schemas that these types come from.
  return extension as unknown as Extension;
}

/**
 * The command line of the service with extensions: what `node src/main.ts ROLE …` does, with the role and its options
 * from the arguments of this process, `migrate` and `dev` among them. Ends the process.
 */
export async function runService(extensions: readonly Extension[]): Promise<void> {
  // Before the rest is loaded: npm may end meanwhile, and another parent takes its place.
  const parentPid = process.ppid;
  const { runCommand } = await import('./commands.ts');
  await runCommand(process.argv.slice(2), parentPid, extensions);
}

/**
 * Starts the embedded stack and the whole service in this process, does the work, stops all of it in order, and ends the
 * process: exit code 0, or 1 with what went wrong on standard error. What the environment says of servers is not looked
 * at, so nothing but its own folder is touched.
 * @param name of the folder in DATA_DIR that holds its data, its ports and its logs, apart from those of `npm start`
 */
export async function runOnEmbeddedStack(
  name: string,
  extensions: readonly Extension[],
  work: (service: EmbeddedService) => Promise<void>,
): Promise<void> {
  const { runEmbedded } = await import('./embedded-service.ts');
  await runEmbedded(name, extensions, work);
}
