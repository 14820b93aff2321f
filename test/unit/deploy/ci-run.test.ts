import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../../..');
let clone: string;

beforeEach(() => {
  clone = mkdtempSync(join(tmpdir(), 'ci-run-'));
  mkdirSync(join(clone, '.ci'));
  mkdirSync(join(clone, 'bin'));
  copyFileSync(join(root, '.ci/run'), join(clone, '.ci/run'));
  const scripts = { check: 'npm run --silent check:types && npm run --silent check:lint' };
  writeFileSync(join(clone, 'package.json'), JSON.stringify({ scripts }));
});

afterEach(() => {
  rmSync(clone, { recursive: true });
});

type Report = Readonly<Record<string, unknown>>;
const report = (numPassedTests: number, more: Report = {}): Report => ({
  numPassedTests,
  numFailedTests: 0,
  numPendingTests: 0,
  numTodoTests: 0,
  testResults: [],
  ...more,
});

/**
 * Runs the script with an npm that only pretends: the exit code of each of its commands (0 if not given), and the
 * reports that `npm test` and `npm run test:faults` leave behind.
 */
function run(
  codes: Readonly<Record<string, number>>,
  reports: Readonly<{ test?: Report | string; faults?: Report | string }>,
): Readonly<{ status: number | null; stdout: string; lastLine: string | undefined }> {
  for (const [name, content] of Object.entries(reports)) {
    writeFileSync(join(clone, `${name}.json`), typeof content === 'string' ? content : JSON.stringify(content));
  }
  const cases = Object.entries(codes).map(([command, code]) => `  '${command}') exit ${code} ;;`);
  const npm = `#!/bin/sh
echo "npm $*"
case "$*" in test) cp test.json "$TEST_REPORT" ;; 'run test:faults') cp faults.json "$TEST_REPORT" ;; esac 2>/dev/null
case "$*" in
${cases.join('\n')}
  *) exit 0 ;;
esac
`;
  writeFileSync(join(clone, 'bin/npm'), npm);
  chmodSync(join(clone, 'bin/npm'), 0o755);
  const { status, stdout } = spawnSync(join(clone, '.ci/run'), {
    encoding: 'utf8',
    env: { ...process.env, PATH: `${join(clone, 'bin')}:${process.env['PATH'] ?? ''}` },
  });
  return { status, stdout, lastLine: stdout.trimEnd().split('\n').at(-1) };
}

describe('.ci/run', () => {
  it('adds up the tests of both stages and ends with exit code 0 if none failed', () => {
    const { status, stdout, lastLine } = run({}, { test: report(40), faults: report(2) });
    expect(lastLine).toBe('42 passed, 0 failed');
    expect(status).toBe(0);
    expect(stdout.split('\n').filter((line) => line.startsWith('npm '))).toEqual([
      'npm ci',
      'npm run --silent check:types',
      'npm run --silent check:lint',
      'npm test',
      'npm run test:faults',
    ]);
  });

  it('goes on after failed checks and failed tests, and counts each', () => {
    const codes = { 'run --silent check:types': 2, 'run --silent check:lint': 1, test: 1 };
    const { status, lastLine } = run(codes, { test: report(39, { numFailedTests: 1 }), faults: report(2) });
    expect(lastLine).toBe('41 passed, 3 failed');
    expect(status).toBe(1);
  });

  it('counts a stage without a readable report as one failed', () => {
    expect(run({ test: 1 }, { faults: report(2) }).lastLine).toBe('2 passed, 1 failed');
    expect(run({ test: 1 }, { test: '{"half', faults: report(2) }).lastLine).toBe('2 passed, 1 failed');
    expect(run({}, { test: '{}', faults: report(2) }).lastLine).toBe('2 passed, 1 failed');
  });

  it('counts what was skipped, or left to do, as failed', () => {
    const { status, lastLine } = run(
      {},
      { test: report(7, { numPendingTests: 2, numTodoTests: 1 }), faults: report(1) },
    );
    expect(lastLine).toBe('8 passed, 3 failed');
    expect(status).toBe(1);
  });

  it('counts a test file that did not load, and an error outside of any test', () => {
    const testResults = [{ name: 'a.test.ts', status: 'failed', message: 'no such module', assertionResults: [] }];
    const { lastLine } = run(
      { test: 1, 'run test:faults': 1 },
      { test: report(7, { testResults }), faults: report(2) },
    );
    expect(lastLine).toBe('9 passed, 2 failed');
  });

  it('counts a stage in which no test ran as failed', () => {
    expect(run({}, { test: report(0), faults: report(2) }).lastLine).toBe('2 passed, 1 failed');
  });

  it('names what failed before its last line, for whoever is sent the end of the log', () => {
    const refused = { fullName: 'an order is charged once', status: 'failed', failureMessages: ['expected 2 to be 1'] };
    const fine = { fullName: 'an order is cancelled', status: 'passed', failureMessages: [] };
    const testResults = [{ name: 'a.test.ts', status: 'failed', message: '', assertionResults: [refused, fine] }];
    const { stdout } = run(
      { 'run --silent check:lint': 1, test: 1 },
      { test: report(7, { numFailedTests: 1, testResults }), faults: report(2) },
    );
    const end = stdout.slice(stdout.indexOf('=== What failed'));
    expect(end).toContain('npm run --silent check:lint: exit code 1');
    expect(end).toContain('a.test.ts: an order is charged once\nexpected 2 to be 1');
    expect(end).not.toContain('is cancelled');
    expect(run({}, { test: report(7), faults: report(2) }).stdout).not.toContain('What failed');
  });

  it('stops when the packages cannot be installed', () => {
    const { status, stdout, lastLine } = run({ ci: 1 }, { test: report(1), faults: report(1) });
    expect(lastLine).toBe('0 passed, 1 failed');
    expect(status).toBe(1);
    expect(stdout).not.toContain('npm test');
  });
});
