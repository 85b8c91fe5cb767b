// Who talks to whom, as two columns with curves between them.

import type { Edge, Graph } from './api';

export interface Spot {
  id: string;
  label: string;
  kind: string;
  right: boolean;
  y: number;
}

export interface Curve {
  edge: Edge;
  path: string;
  width: number;
  x: number; // where its text goes
  y: number;
}

export interface Drawing {
  height: number;
  spots: Spot[];
  curves: Curve[];
  left: number;
  right: number;
}

const row = 30;

// draw places what is of this host on the left and peers on the right, each side
// in the order of bytes. An edge between two of one side bows inwards.
export function draw(graph: Graph, width: number, most: number): Drawing {
  const edges = [...(graph.edges ?? [])].sort((a, b) => b.bytes - a.bytes).slice(0, most);
  const used = new Set(edges.flatMap((e) => [e.from, e.to]));
  const nodes = (graph.nodes ?? []).filter((n) => used.has(n.id)).sort((a, b) => b.bytes - a.bytes);
  const rows = [0, 0];
  const room = Math.min(Math.max(width * 0.28, 90), 260);
  const spots = nodes.map((n): Spot => {
    const side = n.kind === 'peer' ? 1 : 0;
    rows[side] = (rows[side] ?? 0) + 1;
    return { id: n.id, label: n.label, kind: n.kind, right: side === 1, y: ((rows[side] ?? 1) - 0.5) * row };
  });
  const at = new Map(spots.map((s) => [s.id, s]));
  const left = room;
  const right = width - room;
  const largest = Math.max(1, ...edges.map((e) => e.bytes));
  const curves: Curve[] = [];
  for (const edge of edges) {
    const a = at.get(edge.from);
    const b = at.get(edge.to);
    if (!a || !b) continue;
    const x0 = a.right ? right : left;
    const x1 = b.right ? right : left;
    const bow = x0 === x1 ? (right - left) / 3 : (x1 - x0) / 2;
    const c0 = x0 === x1 ? x0 + (a.right ? -bow : bow) : x0 + bow;
    const c1 = x0 === x1 ? c0 : x1 - bow;
    // Past the middle, where curves of one node have parted, and not all at one
    // place.
    const s = 0.56 + 0.1 * (curves.length % 4);
    const bez = (p: number, q: number, r: number, t: number) =>
      (1 - s) ** 3 * p + 3 * (1 - s) ** 2 * s * q + 3 * (1 - s) * s * s * r + s ** 3 * t;
    curves.push({
      edge,
      path: `M${x0},${a.y}C${c0},${a.y} ${c1},${b.y} ${x1},${b.y}`,
      width: 1 + 9 * Math.sqrt(edge.bytes / largest),
      x: bez(x0, c0, c1, x1),
      y: bez(a.y, a.y, b.y, b.y),
    });
  }
  return { height: Math.max(rows[0] ?? 0, rows[1] ?? 0, 1) * row, spots, curves, left, right };
}
