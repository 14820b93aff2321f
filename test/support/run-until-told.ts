// A program for tests: does nothing until SIGTERM.
process.once('SIGTERM', () => process.exit(0));
setInterval(() => undefined, 60_000);
process.stdout.write('"here"\n');
