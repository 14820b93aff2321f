// What the system says of processes (Linux).
import { readdirSync, readFileSync } from 'node:fs';
import { identifyProcess } from '../../src/embedded/children/process-identity.ts';

/** Whether it runs; not, where it has ended and nobody has collected that yet. */
export function isAlive(pid: number): boolean {
  return identifyProcess(pid) !== undefined;
}

export function childrenOf(parent: number): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => statOf(pid)?.parent === parent);
}

/** The process group, which a terminal's Ctrl-C is sent to. */
export function groupOf(pid: number): number | undefined {
  return statOf(pid)?.group;
}

/** Whether it has a handler for SIGHUP: a Node program that sets one has begun. */
export function handlesHangUp(pid: number): boolean {
  const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
  return (BigInt(`0x${caught}`) & 1n) === 1n;
}

function statOf(pid: number): Readonly<{ parent: number; group: number }> | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [, parent, group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { parent: Number(parent), group: Number(group) };
  } catch {
    return undefined;
  }
}
