// docker-compose.yml as Compose itself reads it: anchors merged, variables filled in.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

export const root = join(import.meta.dirname, '../../..');

export type Service = Readonly<{
  image?: string;
  build?: string;
  command?: readonly string[];
  entrypoint?: readonly string[];
  environment?: Readonly<Record<string, string | number>>;
  depends_on?: Readonly<Record<string, Readonly<{ condition: string }>>>;
  healthcheck?: Readonly<{ test: readonly string[] }>;
  volumes?: readonly string[];
  ports?: readonly string[];
  configs?: readonly Readonly<{ source: string }>[];
  restart?: string;
  stop_grace_period?: string;
}>;

export type ComposeFile = Readonly<{
  services: Readonly<Record<string, Service>>;
  volumes: Readonly<Record<string, unknown>>;
  configs: Readonly<Record<string, unknown>>;
}>;

/** What the file's own header tells people to put into .env. */
export const variables: Readonly<Record<string, string>> = {
  POSTGRES_PASSWORD: 'a1b2c3',
  TEMPORAL_POSTGRES_PASSWORD: 'd4e5f6',
  PAYMENTS_WEBHOOK_SECRET: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
};

/** @throws Error naming a variable that is required (`${NAME:?why}`) and not among `values` */
export function readComposeFile(values: Readonly<Record<string, string>> = variables): ComposeFile {
  const text = readFileSync(join(root, 'docker-compose.yml'), 'utf8');
  return interpolate(parse(text, { merge: true }), values) as ComposeFile;
}

/** The services that are built from this repository. */
export function ownServices(file: ComposeFile): readonly (readonly [name: string, service: Service])[] {
  return Object.entries(file.services).filter(([, service]) => service.build !== undefined);
}

export const asSeconds = (duration: string | undefined): number => Number(/^(\d+)s$/.exec(duration ?? '')?.[1]);

/** As the Compose specification says, as far as this file uses it: `$$`, `${A}`, `${A:-default}`, `${A:?error}`. */
function interpolate(node: unknown, values: Readonly<Record<string, string>>): unknown {
  if (typeof node === 'string') {
    return node.replaceAll(/\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\}|)/g, (whole, escaped, name, operator, argument) => {
      if (escaped !== undefined) return '$';
      if (name === undefined) throw new Error(`A lone $ in ${node}`);
      const value = values[String(name)];
      if (value !== undefined && value !== '') return value;
      if (operator === '-') return String(argument);
      throw new Error(`${String(name)} is required (${String(argument ?? whole)})`);
    });
  }
  if (Array.isArray(node)) return node.map((item) => interpolate(item, values));
  if (typeof node === 'object' && node !== null) {
    return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, interpolate(value, values)]));
  }
  return node;
}
