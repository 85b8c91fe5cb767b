// From the ledger's links to a drawing: which nodes there are, where they stand,
// and which losses there are to tell of.

import { sankey, sankeyJustify, type SankeyGraph, type SankeyLink } from 'd3-sankey';
import type { Entry, Fate, Link, Table } from './api';

export interface Node {
  id: string;
}

export interface Edge {
  link: Link;
  value: number;
}

// label takes a node's name apart: in/device is a direction and a station; an end,
// delivered, has no direction.
export function label(id: string): { direction: string; line: string } {
  const cut = id.indexOf('/');
  return cut < 0 ? { direction: '', line: id } : { direction: id.slice(0, cut), line: id.slice(cut + 1) };
}

// drawable leaves out what a Sankey cannot show: links of nothing, links of the
// other direction, and such as would close a circle. A remainder that is negative
// has its size; other links of less than nothing say that packets became more, and
// are left out. The ends of each direction are its own.
export function drawable(links: Link[], direction: string): Link[] {
  const next = new Map<string, string[]>();
  const reaches = (from: string, to: string): boolean => {
    const seen = new Set<string>();
    const stack = [from];
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      if (at === to) return true;
      if (seen.has(at)) continue;
      seen.add(at);
      stack.push(...(next.get(at) ?? []));
    }
    return false;
  };
  const own = (l: Link): Link => ({
    ...l,
    to: l.to.includes('/') ? l.to : `${label(l.from).direction}/${l.kind}/${l.to}`,
    packets: l.kind === 'remainder' ? Math.abs(l.packets) : l.packets,
  });
  return links.map(own).filter((l) => {
    if (l.packets <= 0 || (direction && !l.from.startsWith(direction + '/'))) return false;
    if (reaches(l.to, l.from)) return false;
    next.set(l.from, [...(next.get(l.from) ?? []), l.to]);
    return true;
  });
}

export type Layout = SankeyGraph<Node, Edge>;

// lossWidth is the least width of a loss, in pixels: one packet in a million is
// what the reader is looking for, and would be invisible to scale.
const lossWidth = 3;

// layout places the layers; `room` is left free at the right for names.
export function layout(links: Link[], width: number, height: number, room: number): Layout {
  const names = new Set<string>();
  for (const l of links) names.add(l.from).add(l.to);
  const total = links.reduce((most, l) => Math.max(most, l.packets), 0);
  const least = (total * lossWidth) / height;
  return sankey<Node, Edge>()
    .nodeId((n) => n.id)
    .nodeAlign(sankeyJustify)
    .nodeWidth(6)
    .nodePadding(width < 600 ? 14 : 18)
    .nodeSort(null)
    .linkSort(null)
    .iterations(24)
    .extent([
      [1, 12],
      [Math.max(width - room, 60), height - 16],
    ])({
    nodes: [...names].map((id) => ({ id })),
    links: links.map((link) => ({
      source: link.from,
      target: link.to,
      link,
      value: link.kind === 'pass' ? link.packets : Math.max(link.packets, least),
    })),
  });
}

// band is the outline of a link. A stroke of its width would show its edges where
// a wide link is short.
export function band(l: SankeyLink<Node, Edge>, least: number): string {
  const source = l.source as { x1?: number };
  const target = l.target as { x0?: number };
  const [x0, x1] = [source.x1 ?? 0, target.x0 ?? 0];
  const [y0, y1] = [l.y0 ?? 0, l.y1 ?? 0];
  const half = Math.max(l.width ?? 0, least) / 2;
  const x = (x0 + x1) / 2;
  const n = (v: number) => v.toFixed(1);
  return (
    `M${n(x0)},${n(y0 - half)}C${n(x)},${n(y0 - half)} ${n(x)},${n(y1 - half)} ${n(x1)},${n(y1 - half)}` +
    `V${n(y1 + half)}C${n(x)},${n(y1 + half)} ${n(x)},${n(y0 + half)} ${n(x0)},${n(y0 + half)}Z`
  );
}

export interface Loss {
  reason: string;
  direction: string;
  layer: string;
  verdict: string;
  packets: number;
  entry: Entry | undefined;
  // lines are all of the ledger's on this loss: one of a counter, one of the sensor.
  lines: Entry[];
}

// losses lists the losses of the links, the largest first, each with the ledger's
// lines of the same reason: those of its station, if there are any.
export function losses(fate: Fate): Loss[] {
  const entries = (fate.entries ?? []).filter((e) => e.line === 'lost');
  const all = (fate.links ?? [])
    .filter((l) => l.kind === 'loss' && l.packets > 0)
    .map((l): Loss => {
      const { direction, line: from } = label(l.from);
      const reason = l.reason || l.to;
      const same = entries.filter((e) => e.what === reason && (!direction || e.direction === direction));
      const near = same.filter((e) => e.station === from || (e.layer === from && e.station === 'total'));
      const lines = near.length > 0 ? near : same.slice(0, 1);
      const entry = lines[0];
      return {
        reason,
        direction,
        layer: entry?.layer ?? from,
        verdict: l.verdict ?? '',
        packets: l.packets,
        entry,
        lines,
      };
    });
  return all.sort((a, b) => b.packets - a.packets);
}

// Book is one that the ledger keeps, of a namespace or an interface in it.
export interface Book {
  scope: string; // as the API wants it
  netns: number;
  name: string; // of the namespace, empty if it has none
  ifname: string;
}

// books lists those of an answer by scope, netns, netns_name and ifname, each once:
// a namespace may have been named meanwhile.
export function books(table: Table): Book[] {
  const all = new Map<string, Book>();
  for (const [kind, inode, given, ifname] of table.rows) {
    if (typeof inode !== 'number' || inode === 0 || (kind !== 'netns' && kind !== 'interface')) continue;
    const device = kind === 'interface' ? String(ifname ?? '') : '';
    const scope = device ? `if:${inode}/${device}` : `netns:${inode}`;
    const name = String(given ?? '') || (all.get(scope)?.name ?? '');
    all.set(scope, { scope, netns: inode, name, ifname: device });
  }
  return [...all.values()];
}

// within is what records of a book have, as conditions.
export function within(scope: string): string[] {
  const [, kind, inode, ifname] = /^(netns|if):(\d+)(?:\/(.+))?$/.exec(scope) ?? [];
  if (!kind || !inode) return [];
  return ifname ? [`netns=${inode}`, `ifname=${ifname}`] : [`netns=${inode}`];
}

export interface Change {
  reason: string;
  verdict: string;
  before: number; // packets a second
  after: number;
}

// compare sets the losses of two ranges side by side, by time since they may
// differ in length; what changed most comes first.
export function compare(before: Loss[], beforeSeconds: number, after: Loss[], afterSeconds: number): Change[] {
  const by = new Map<string, Change>();
  const add = (list: Loss[], seconds: number, side: 'before' | 'after') => {
    for (const l of list) {
      const c = by.get(l.reason) ?? { reason: l.reason, verdict: l.verdict, before: 0, after: 0 };
      c[side] += l.packets / Math.max(seconds, 1);
      by.set(l.reason, c);
    }
  };
  add(before, beforeSeconds, 'before');
  add(after, afterSeconds, 'after');
  return [...by.values()].sort((a, b) => Math.abs(b.after - b.before) - Math.abs(a.after - a.before));
}
