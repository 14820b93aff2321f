// Folders are rooms, and a room stands one floor above the highest that it imports. Few floors, and no circle.
import { mostFloors } from './house-plan.ts';
import { circles, connectedParts, type Graph } from './graph.ts';
import type { SourceFile, Violation } from './source-file.ts';

/** From the ground up: `floors[0]` imports nothing of ours. Rooms in a circle share a floor. */
export type Floors = Readonly<{ floors: readonly (readonly string[])[]; imports: Graph }>;

export function findFloors(files: readonly SourceFile[]): Floors {
  const imports = roomGraph(files);
  const floorOf = new Map<string, number>();
  for (const part of connectedParts(imports)) {
    const below = part.flatMap((room) => [...(imports.get(room) ?? [])]).filter((room) => !part.includes(room));
    const floor = Math.max(-1, ...below.map((room) => floorOf.get(room) ?? 0)) + 1;
    for (const room of part) floorOf.set(room, floor);
  }
  const height = Math.max(-1, ...floorOf.values()) + 1;
  const floors = Array.from({ length: height }, (_, floor) =>
    [...floorOf].flatMap(([room, its]) => (its === floor ? [room] : [])).toSorted(),
  );
  return { floors, imports };
}

export function checkFloors(files: readonly SourceFile[]): readonly Violation[] {
  const { floors, imports } = findFloors(files);
  const folderCircles = circles(imports).map((rooms) => {
    const edges = rooms.slice(1).map((to, index) => crossing(files, rooms[index] ?? '', to));
    const [first] = edges;
    return {
      file: first?.file ?? '',
      line: first?.line ?? 1,
      message: `circle of folders: ${rooms.join(' -> ')} (${edges
        .map((edge) => `${edge.file}:${edge.line}`)
        .join(', ')}); one of these imports has to go, or what it needs has to move down`,
    };
  });
  const tooHigh = floors.slice(mostFloors).flatMap((rooms) =>
    rooms.map((room) => ({
      file: room,
      line: 1,
      message: `it stands above floor ${mostFloors}, by ${tower(floors, imports, room).join(' > ')}; a shorter way down is needed`,
    })),
  );
  return [...folderCircles, ...tooHigh];
}

/** The table that people read, top floor first. */
export function printFloors({ floors, imports }: Floors): string {
  const width = Math.max(0, ...[...imports.keys()].map((room) => room.length));
  const lines = floors.toReversed().flatMap((rooms, fromTop) =>
    rooms.map((room, index) => {
      const label = index === 0 ? String(floors.length - fromTop) : ' ';
      const below = [...(imports.get(room) ?? [])].toSorted().join(', ');
      return `  ${label}  ${room.padEnd(width)}  ${below && `-> ${below}`}`.trimEnd();
    }),
  );
  return [`floors (${floors.length}, at most ${mostFloors}), and what each room imports:`, ...lines].join('\n');
}

function roomGraph(files: readonly SourceFile[]): Graph {
  const roomsByFile = new Map(files.map((file) => [file.path, file.room]));
  const graph = new Map<string, Set<string>>(files.map((file) => [file.room, new Set()]));
  for (const file of files) {
    for (const reference of file.references) {
      const room = roomsByFile.get(reference.file ?? '');
      if (room !== undefined && room !== file.room) graph.get(file.room)?.add(room);
    }
  }
  return graph;
}

/** The first import that leads from one room to another. */
function crossing(files: readonly SourceFile[], from: string, to: string): { file: string; line: number } {
  const targets = new Set(files.filter((file) => file.room === to).map((file) => file.path));
  for (const file of files.filter((candidate) => candidate.room === from)) {
    const reference = file.references.find((candidate) => targets.has(candidate.file ?? ''));
    if (reference) return { file: file.path, line: reference.line };
  }
  return { file: from, line: 1 };
}

/** The rooms that a room stands on, one a floor: why it is as high as it is. */
function tower(floors: Floors['floors'], imports: Graph, room: string): readonly string[] {
  const floor = floors.findIndex((rooms) => rooms.includes(room));
  const below = floor > 0 ? floors[floor - 1]?.find((candidate) => imports.get(room)?.has(candidate)) : undefined;
  return below === undefined ? [room] : [room, ...tower(floors, imports, below)];
}
