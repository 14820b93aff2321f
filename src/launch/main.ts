// The command line's first file. It is CommonJS in plain JavaScript on purpose: a Node that is too old to read
// TypeScript can still run it, and says so in one line instead of failing with a stack trace.
if (Number(process.versions.node.split('.')[0]) < 24) {
  process.stderr.write(
    'Athyper Sagas needs Node 24 or newer, this is ' +
      process.version +
      '. Run it as an npm script (npm start, npm run worker, ...), which finds the pinned Node 24, or install Node 24.\n',
  );
  process.exit(1);
}
// Before the rest is loaded: npm may end meanwhile, and another parent takes its place.
const parentPid = process.ppid;
void import('../processes/commands.ts').then((commands) => commands.runCommand(process.argv.slice(2), parentPid));
