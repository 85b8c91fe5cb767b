// BPF programs and maps as rows of tables.

import type { BPFMap, Held, Program } from './api';

// whose says who holds an object: what netfate run calls it, processes, pins.
export function whose(o: Held): string {
  const object = o.object ? [`netfate run: ${o.object}`] : [];
  return [...object, ...o.owners.map((p) => `${p.comm} (${p.pid})`), ...o.pins].join(', ');
}

export const place = (p: Program): string => p.attached.map((a) => a.where).join(', ');

// found keeps the objects that hold all words, in any of their texts.
export function found<T extends Held & { id: number; name: string }>(
  list: T[],
  words: string,
  texts: (o: T) => string[],
): T[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  return list.filter((o) => {
    const all = [String(o.id), o.name, whose(o), ...texts(o)].join('\n').toLowerCase();
    return wanted.every((word) => all.includes(word));
  });
}

// users names the programs that use a map.
export function users(m: BPFMap, programs: Map<number, string>): string {
  return m.program_ids.map((id) => `${programs.get(id) ?? '?'} (${id})`).join(', ');
}
