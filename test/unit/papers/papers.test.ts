// Papers go out of date in silence. What can be looked up is looked up here.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { environmentVariables, roles } from '../../../src/platform/config.ts';
import { findFloors } from '../../house/check-floors.ts';
import { readHouse } from '../../house/read-house.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));

function* findPapers(folder: string): Iterable<string> {
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    if (entry.name === 'node_modules' || (entry.name.startsWith('.') && entry.isDirectory())) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* findPapers(path);
    else if (entry.name.endsWith('.md')) yield path;
  }
}

const textOf = (path: string): string => readFileSync(join(root, path), 'utf8');
const papers = [...findPapers('.')];
const linesOf = (path: string): number => textOf(path).trimEnd().split('\n').length;
const all = (text: string, pattern: RegExp): readonly string[] =>
  [...text.matchAll(pattern)].map(([, first]) => first ?? '');
/** Without the examples in fences, which speak of other machines and other folders. */
const proseOf = (path: string): string => textOf(path).replaceAll(/^```.*?^```$/gms, '');
/** The lines of a table whose head begins with this cell. */
const tableOf = (path: string, head: string): readonly string[] =>
  new RegExp(`^\\| ${head} \\|.*\\n\\|.*\\n((?:\\|.*\\n)+)`, 'm').exec(textOf(path))?.[1]?.trim().split('\n') ?? [];
const cell = (line: string, index: number): string => line.split('|')[index + 1] ?? '';

/** As GitHub makes them: `### Add a saga` is #add-a-saga. */
const anchorsOf = (path: string): readonly string[] =>
  all(proseOf(path), /^#+ (.+)$/gm).map((heading) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

describe('the papers', () => {
  it('are all there', () => {
    const wanted = ['README', 'ARCHITECTURE', 'CHANGELOG', 'CONTRIBUTING', 'SECURITY'].map((name) => `${name}.md`);
    expect(papers).toEqual(expect.arrayContaining([...wanted, 'docs/operations.md']));
  });

  it.each([
    ['README.md', 1, 150],
    ['ARCHITECTURE.md', 1, 250],
    ...papers.filter((path) => path.startsWith('docs/adr/')).map((path) => [path, 40, 60] as const),
  ] as const)('%s has between %i and %i lines', (path, fewest, most) => {
    expect(linesOf(path)).toBeGreaterThanOrEqual(fewest);
    expect(linesOf(path)).toBeLessThanOrEqual(most);
  });

  it.each(papers)('%s links to what is there', (path) => {
    for (const link of all(proseOf(path), /\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link)) continue;
      const [file = '', anchor] = link.split('#');
      const target = file === '' ? path : normalize(join(dirname(path), file));
      expect(relative(root, join(root, target)), link).not.toMatch(/^\.\./);
      expect(existsSync(join(root, target)), link).toBe(true);
      if (anchor !== undefined) expect(anchorsOf(target), link).toContain(anchor);
    }
  });

  it.each(papers)('%s names only files and folders that exist', (path) => {
    const top = /^(?:\.ci|activities|bench|docs|examples|migrations|src|test|workflows)\/[\w./-]*$/;
    const file = /^(?:[A-Z]+\.md|Dockerfile|docker-compose\.yml|package(?:-lock)?\.json|tsconfig\.json)$/;
    const named = all(proseOf(path), /`([^`\s]+)`/g).filter((word) => top.test(word) || file.test(word));
    for (const name of named) expect(existsSync(join(root, name)), name).toBe(true);
  });

  it.each(papers)('%s names only npm scripts that exist', (path) => {
    const { scripts } = JSON.parse(textOf('package.json')) as { scripts: Record<string, string> };
    const named = all(textOf(path), /\bnpm (?:run (?:--silent )?([a-z][\w:-]*)|(?:start|test)\b)/g);
    for (const name of named) expect(Object.keys(scripts)).toContain(name === '' ? 'start' : name);
  });

  it.each(papers)('%s names no machine and no host but public ones', (path) => {
    expect(textOf(path)).not.toMatch(/(?:^|[\s`'"(=])\/(?:work|home|root|Users|mnt|tmp|builds)\//m);
    const publicHosts = /^(?:localhost|127\.0\.0\.1|keepachangelog\.com|semver\.org|github\.com|docs\.temporal\.io)$/;
    for (const host of all(textOf(path), /\b\w+:\/\/([\w.-]+)/g)) expect(host).toMatch(publicHosts);
  });
});

describe('the README', () => {
  it('explains every variable that the service knows, and no other', () => {
    const explained = tableOf('README.md', 'variable').flatMap((line) => all(cell(line, 0), /`([A-Z_]+)`/g));
    expect(explained.toSorted()).toEqual([...environmentVariables].toSorted());
  });

  it('lists every role, and no other', () => {
    const listed = tableOf('README.md', 'role').flatMap((line) => all(cell(line, 0), /`([a-z-]+)`/g));
    expect(listed.toSorted()).toEqual([...roles].toSorted());
  });
});

describe('ARCHITECTURE.md', () => {
  it('draws the floors that the code has', () => {
    const named = all(textOf('ARCHITECTURE.md'), /^\d {2}(.+?)(?: {2,}.*)?$/gm).map((rooms) =>
      rooms.split(' · ').toSorted(),
    );
    expect(named).toEqual(findFloors(readHouse(root)).floors.toReversed());
  });

  it('names for each guarantee a test that exists', () => {
    const rows = tableOf('ARCHITECTURE.md', '#');
    expect(rows.map((line) => cell(line, 0).trim())).toEqual(['G1', 'G2', 'G3', 'G4', 'G5', 'G6', 'G7', 'G8']);
    for (const line of rows) {
      const tests = all(line, /`(test\/[\w./-]+\.test\.ts)`/g);
      expect(tests, line).not.toEqual([]);
      for (const test of tests) expect(existsSync(join(root, test)), test).toBe(true);
    }
  });
});
