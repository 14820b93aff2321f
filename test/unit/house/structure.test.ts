import { spawnSync } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkCircles } from '../../house/check-circles.ts';
import { checkFloors, findFloors, printFloors } from '../../house/check-floors.ts';
import { checkNames, warnings } from '../../house/check-names.ts';
import { readHouse } from '../../house/read-house.ts';
import { findings, inHouse } from './fixture-house.ts';

describe('circles of files', () => {
  it('are found through types', () => {
    const plan = {
      'src/orders/a.ts': `import type { B } from './b.ts';\nexport type A = B;`,
      'src/orders/b.ts': `import { c } from './c.ts';\nexport type B = typeof c;`,
      'src/orders/c.ts': `\nexport type C = import('./a.ts').A; export const c = 1;`,
    };
    expect(findings(checkCircles, plan)).toEqual([
      expect.stringMatching(
        /^src\/orders\/a\.ts:1: circle of files: src\/orders\/a\.ts -> .*b\.ts -> .*c\.ts -> .*a\.ts;/,
      ),
    ]);
  });

  it('are each told once, and a file that imports itself is one', () => {
    const plan = {
      'src/orders/a.ts': `import './b.ts';`,
      'src/orders/b.ts': `import './a.ts';`,
      'src/users/c.ts': `import './c.ts';`,
    };
    expect(findings(checkCircles, plan)).toHaveLength(2);
  });

  it('are not seen where two ways lead to one file', () => {
    const plan = {
      'src/a/a.ts': `import '../b/b.ts'; import '../b/c.ts';`,
      'src/b/b.ts': `import './c.ts';`,
      'src/b/c.ts': `export const c = 1;`,
    };
    expect(findings(checkCircles, plan)).toEqual([]);
  });
});

describe('floors', () => {
  /** A tower of rooms, `src/r1` on the ground. */
  const tower = (height: number) =>
    Object.fromEntries(
      Array.from({ length: height }, (_, i) => [
        `src/r${i + 1}/x.ts`,
        i === 0 ? 'export const x = 1;' : `import '../r${i}/x.ts';`,
      ]),
    );

  it('may be six', () => {
    expect(findings(checkFloors, tower(6))).toEqual([]);
  });

  it('may not be seven, and the way up is named', () => {
    expect(findings(checkFloors, tower(7))).toEqual([
      expect.stringContaining('src/r7:1: it stands above floor 6, by src/r7 > src/r6 > src/r5'),
    ]);
  });

  it('count a room from the highest that it imports, and print as a table from the top', () => {
    const plan = {
      'src/top/x.ts': `import '../ground/x.ts'; import '../middle/deep/x.ts';`,
      'src/middle/deep/x.ts': `import type { X } from '../../ground/x.ts';`,
      'src/ground/x.ts': `export type X = 1;`,
      'workflows/x.ts': `import '../src/ground/x.ts';`,
    };
    expect(printFloors(findFloors(inHouse(plan, readHouse)))).toBe(
      [
        'floors (3, at most 6), and what each room imports:',
        '  3  src/top     -> src/ground, src/middle',
        '  2  src/middle  -> src/ground',
        '     workflows   -> src/ground',
        '  1  src/ground',
      ].join('\n'),
    );
  });

  it('cannot stand on each other: a circle of folders is an error even where no file is in one', () => {
    const plan = {
      'src/orders/a.ts': `import '../users/a.ts';`,
      'src/orders/b.ts': `export const b = 1;`,
      'src/users/a.ts': `export const a = 1;`,
      'src/users/b.ts': `\nimport '../orders/b.ts';`,
    };
    expect(findings(checkCircles, plan)).toEqual([]);
    expect(findings(checkFloors, plan)).toEqual([
      expect.stringContaining(
        'src/orders/a.ts:1: circle of folders: src/orders -> src/users -> src/orders (src/orders/a.ts:1, src/users/b.ts:2)',
      ),
    ]);
  });
});

describe('names and sizes', () => {
  const lines = (count: number): string =>
    Array.from({ length: count }, (_, i) => `export const x${i} = 1;\n`).join('');

  it.each([
    ['src/orders/index.ts', 'export const x = 1;', 'a barrel'],
    ['src/orders/all-orders.ts', `export * from './a.ts'; export { b } from './b.ts';`, 'a barrel'],
    ['src/orders/utils.ts', 'export const x = 1;', '"utils" says nothing'],
    ['src/common/money.ts', 'export const x = 1;', '"common" says nothing'],
    ['activities/helpers/x.ts', 'export const x = 1;', '"helpers" says nothing'],
    ['src/misc/x.ts', 'export const x = 1;', '"misc" says nothing'],
    ['src/stray.ts', 'export const x = 1;', 'a file right in src has no room'],
    ['src/orders/long.ts', lines(351), '351 lines are too many'],
  ])('refuse %s', (path, text, says) => {
    expect(findings(checkNames, { [path]: text })).toEqual([expect.stringContaining(`${path}:1: ${says}`)]);
  });

  it('allow the two index files that Temporal needs, and 350 lines with a warning', () => {
    const plan = {
      'workflows/index.ts': `export * from './order.ts';`,
      'activities/index.ts': `export * from './order.ts';`,
      'src/orders/long.ts': lines(350),
      'src/orders/fair.ts': lines(250),
    };
    expect(findings(checkNames, plan)).toEqual([]);
    expect(warnings(inHouse(plan, readHouse))).toEqual(['src/orders/long.ts: 350 lines, over 250: look twice']);
  });
});

describe('npm run check:house', () => {
  const program = join(import.meta.dirname, '../../house/check-house.ts');
  const run = (root: string) => spawnSync(process.execPath, [program, root], { encoding: 'utf8' });

  it('exits 1 and prints each violation in a line of its own', () => {
    const { status, stderr } = inHouse({ 'src/orders/x.ts': `import 'express';\nprocess.env;` }, run);
    expect(stderr.trim().split('\n')).toEqual([
      expect.stringMatching(/^src\/orders\/x\.ts:1: "express" does not belong in src\/orders; /),
      expect.stringMatching(/^src\/orders\/x\.ts:2: process\.env is read in /),
    ]);
    expect(status).toBe(1);
  });

  it('exits 0 for a house in order, tests and symbolic links left out', () => {
    const plan = { 'src/launch/main.ts': 'export const x = 1;', 'test/utils.ts': `import 'express'; process.env;` };
    const { status, stdout } = inHouse(plan, (root) => {
      symlinkSync('launch/main.ts', join(root, 'src/main.ts'));
      return run(root);
    });
    expect(stdout).toContain('house: 1 files, 0 violations');
    expect(status).toBe(0);
  });

  it('exits 1 where there is no house at all', () => {
    expect(inHouse({}, run).status).toBe(1);
  });

  it('exits 1 for a file that does not parse, and names it', () => {
    const { status, stderr } = inHouse({ 'src/orders/x.ts': 'const = ;' }, run);
    expect(stderr).toContain('src/orders/x.ts does not parse');
    expect(status).toBe(1);
  });
});
