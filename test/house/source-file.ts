// Reads one TypeScript file as the checks see it: what it imports, whether it reads the environment, its size.
import { isBuiltin } from 'node:module';
import { posix } from 'node:path';
import { parseSync, Visitor, type Program } from 'oxc-parser';

/** One import, of whatever kind: static, dynamic, re-export, `import("x").T`, `require`. Types count like values. */
export type Reference = Readonly<{
  specifier: string;
  line: number;
  /** The path of the imported file, if it is one of ours. */
  file: string | undefined;
  /** The name of the imported package (`node:fs` for what is built in), if it is not ours. */
  package: string | undefined;
}>;

export type SourceFile = Readonly<{
  path: string;
  /** The folder it belongs to: `workflows`, `src/domain`. A room includes the folders in it. */
  room: string;
  lineCount: number;
  references: readonly Reference[];
  /** Lines that read `process.env`, in whatever spelling. */
  environmentReads: readonly number[];
  /** It holds nothing but re-exports. */
  isBarrel: boolean;
}>;

/** A finding, of which any one fails the check. */
export type Violation = Readonly<{ file: string; line: number; message: string }>;

/**
 * @param path from the root of the repository, with forward slashes
 * @throws Error if the text does not parse
 */
export function readSourceFile(path: string, text: string): SourceFile {
  const { program, errors } = parseSync(path, text, { lang: 'ts', sourceType: 'unambiguous' });
  const [error] = errors;
  if (error) throw new Error(`${path} does not parse: ${error.message}`);

  const lineAt = lineCounter(text);
  const { specifiers, environmentReads } = findInTree(program);
  return {
    path,
    room: roomOf(path),
    lineCount: lineAt(text.trimEnd().length),
    references: specifiers.map(({ specifier, at }) => ({ specifier, line: lineAt(at), ...resolve(path, specifier) })),
    environmentReads: environmentReads.map(lineAt),
    isBarrel: isBarrel(program),
  };
}

/** `src/orders/rows/order-row.ts` is in `src/orders`, `workflows/saga.ts` in `workflows`. */
function roomOf(path: string): string {
  const folders = path.split('/').slice(0, -1);
  return folders.slice(0, folders[0] === 'src' ? 2 : 1).join('/');
}

function resolve(from: string, specifier: string): Pick<Reference, 'file' | 'package'> {
  if (specifier.startsWith('.')) {
    return { file: posix.join(posix.dirname(from), specifier), package: undefined };
  }
  if (isBuiltin(specifier)) {
    return { file: undefined, package: specifier.startsWith('node:') ? specifier : `node:${specifier}` };
  }
  const parts = specifier.split('/');
  return { file: undefined, package: parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/') };
}

type Found = Readonly<{
  specifiers: readonly Readonly<{ specifier: string; at: number }>[];
  environmentReads: readonly number[];
}>;

function findInTree(program: Program): Found {
  const specifiers: { specifier: string; at: number }[] = [];
  const environmentReads: number[] = [];
  const note = (node: unknown): void => {
    const literal = node as { type?: string; value?: unknown; start?: number } | null;
    if (literal?.type === 'Literal' && typeof literal.value === 'string') {
      specifiers.push({ specifier: literal.value, at: literal.start ?? 0 });
    }
  };

  new Visitor({
    ImportDeclaration(node) {
      note(node.source);
      const named = node.specifiers.some((one) => one.type === 'ImportSpecifier' && nameOf(one.imported) === 'env');
      if (named && /^(node:)?process$/.test(node.source.value)) environmentReads.push(node.start);
    },
    ExportNamedDeclaration: (node) => note(node.source),
    ExportAllDeclaration: (node) => note(node.source),
    ImportExpression: (node) => note(node.source),
    TSImportType: (node) => note(node.source),
    TSExternalModuleReference: (node) => note(node.expression),
    CallExpression(node) {
      if (nameOf(node.callee) === 'require') note(node.arguments[0]);
    },
    // process.env, process['env'], globalThis.process.env
    MemberExpression(node) {
      if (nameOf(node.property) === 'env' && isProcess(node.object)) environmentReads.push(node.start);
    },
    // const { env } = process
    VariableDeclarator(node) {
      const takesEnv =
        node.id.type === 'ObjectPattern' &&
        node.id.properties.some((property) => property.type === 'Property' && nameOf(property.key) === 'env');
      if (takesEnv && isProcess(node.init)) environmentReads.push(node.start);
    },
  }).visit(program);
  return { specifiers: specifiers.toSorted((a, b) => a.at - b.at), environmentReads };
}

function isProcess(node: unknown): boolean {
  const member = node as { type?: string; property?: unknown } | null;
  return nameOf(node) === 'process' || (member?.type === 'MemberExpression' && nameOf(member.property) === 'process');
}

/** The name of an identifier, or the text of a string. */
function nameOf(node: unknown): string | undefined {
  const named = node as { type?: string; name?: unknown; value?: unknown } | null;
  const text = named?.type === 'Identifier' ? named.name : named?.type === 'Literal' ? named.value : undefined;
  return typeof text === 'string' ? text : undefined;
}

function isBarrel(program: Program): boolean {
  return (
    program.body.length > 0 &&
    program.body.every(
      (node) =>
        node.type === 'ExportAllDeclaration' || (node.type === 'ExportNamedDeclaration' && node.source !== null),
    )
  );
}

function lineCounter(text: string): (offset: number) => number {
  return (offset) => text.slice(0, offset).split('\n').length;
}
