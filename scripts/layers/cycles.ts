/** Cycles of a graph, each by a shortest way round; at least one of each group of nodes that reach each other. */
export function findCycles(edges: ReadonlyMap<string, readonly string[]>): string[][] {
  const cycles: string[][] = []
  const covered = new Set<string>()
  for (const start of [...edges.keys()].sort()) {
    if (covered.has(start)) continue
    const cycle = shortestWayRound(start, edges)
    if (cycle === undefined) continue
    cycles.push(cycle)
    for (const node of cycle) covered.add(node)
  }
  return cycles
}

function shortestWayRound(
  start: string,
  edges: ReadonlyMap<string, readonly string[]>,
): string[] | undefined {
  const cameFrom = new Map<string, string>()
  const queue = [start]
  for (const node of queue) {
    for (const next of edges.get(node) ?? []) {
      if (next === start) return [...pathTo(node, start, cameFrom), start]
      if (cameFrom.has(next)) continue
      cameFrom.set(next, node)
      queue.push(next)
    }
  }
  return undefined
}

function pathTo(end: string, start: string, cameFrom: ReadonlyMap<string, string>): string[] {
  const path = [end]
  for (let node = end; node !== start; ) {
    node = cameFrom.get(node) ?? start
    path.unshift(node)
  }
  return path
}
