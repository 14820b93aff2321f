// Circles in a directed graph, for files and for rooms alike.

/** Every node, also one without edges, and the nodes that it points to. */
export type Graph = ReadonlyMap<string, ReadonlySet<string>>;

/** The strongly connected parts of the graph (Tarjan), each after all that it points to. */
export function connectedParts(graph: Graph): readonly (readonly string[])[] {
  const parts: string[][] = [];
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];

  const visit = (node: string): number => {
    const own = index.size;
    index.set(node, own);
    stack.push(node);
    let lowest = own;
    for (const next of graph.get(node) ?? []) {
      if (!index.has(next)) lowest = Math.min(lowest, visit(next));
      else if (stack.includes(next)) lowest = Math.min(lowest, low.get(next) ?? index.get(next) ?? own);
    }
    low.set(node, lowest);
    if (lowest === own) parts.push(stack.splice(stack.indexOf(node)));
    return lowest;
  };
  for (const node of graph.keys()) if (!index.has(node)) visit(node);
  return parts;
}

/** One shortest circle for each part of the graph that has one: `[a, b, a]`. A node that points to itself counts. */
export function circles(graph: Graph): readonly (readonly string[])[] {
  return connectedParts(graph)
    .map((part) => shortestCircle(graph, part))
    .filter((circle) => circle.length > 0);
}

function shortestCircle(graph: Graph, part: readonly string[]): readonly string[] {
  const [start] = part.toSorted();
  if (start === undefined) return [];
  const inside = new Set(part);
  const queue: string[][] = [[start]];
  const seen = new Set<string>();
  for (let path = queue.shift(); path; path = queue.shift()) {
    for (const next of graph.get(path.at(-1) ?? start) ?? []) {
      if (next === start) return [...path, start];
      if (inside.has(next) && !seen.has(next)) {
        seen.add(next);
        queue.push([...path, next]);
      }
    }
  }
  return [];
}
