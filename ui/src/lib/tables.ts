// From the API's columns to those of a table.

import type { Column, Table } from './api';
import type { Head } from '../parts/Grid.svelte';
import { word } from './text/text.svelte';

// head names a column and says how its values are shown.
export function head(c: Column, more: Partial<Head> = {}): Head {
  const label = word('by', c.name) !== c.name ? word('by', c.name) : word('field', c.name);
  return { name: c.name, label, kind: kind(c), ...more };
}

function kind(c: Column): NonNullable<Head['kind']> {
  if (c.name === 'verdict') return 'verdict';
  if (c.type === 'share') return 'share';
  if (c.unit === 'bytes') return 'bytes';
  if (c.unit === 'us') return 'us';
  if (c.type === 'time') return 'time';
  // Ports, process ids and statuses are numbers that nobody adds up.
  if (/_port$|^pid$|^uid$|^status$|^netns$/.test(c.name)) return 'text';
  if (['uint', 'int', 'float'].includes(c.type)) return 'count';
  if (c.name === 'location' || c.name === 'path') return 'code';
  return 'text';
}

// chosen keeps the columns of these names, in this order, as far as there are
// such.
export function chosen(
  table: Table,
  names: string[],
  more: Record<string, Partial<Head>> = {},
): { heads: Head[]; rows: unknown[][] } {
  const at = names.map((name) => table.columns.findIndex((c) => c.name === name)).filter((i) => i >= 0);
  return {
    heads: at.map((i) => {
      const c = table.columns[i] as Column;
      return head(c, more[c.name]);
    }),
    rows: table.rows.map((row) => at.map((i) => row[i])),
  };
}

// withShare adds what part of a count another one is, where a table has both.
export function withShare(table: Table, ofAll: string, part: string): Table {
  const all = table.columns.findIndex((c) => c.name === ofAll);
  const bad = table.columns.findIndex((c) => c.name === part);
  if (all < 0 || bad < 0) return table;
  return {
    ...table,
    columns: [...table.columns, { name: 'error_rate', type: 'share' }],
    rows: table.rows.map((row) => {
      const n = Number(row[all]);
      return [...row, n > 0 && row[bad] !== null ? Number(row[bad]) / n : null];
    }),
  };
}

// joined puts the rows of several answers of one kind together, newest first, each
// once. Where one has more rows than are here, what others have that is older waits
// for them.
export function joined(parts: { rows: Table | undefined; left: boolean }[]): Table {
  const columns = parts.find((p) => p.rows)?.rows?.columns ?? [];
  const at = columns.findIndex((c) => c.name === 'time');
  const time = (row: unknown[] | undefined) => Date.parse(String(row?.[at]));
  const until = Math.max(-Infinity, ...parts.filter((p) => p.left).map((p) => time(p.rows?.rows.at(-1))));
  const all = new Map<string, unknown[]>();
  for (const { rows } of parts) {
    for (const row of rows?.rows ?? []) if (!(time(row) < until)) all.set(JSON.stringify(row), row);
  }
  return { columns, rows: [...all.values()].sort((x, y) => time(y) - time(x)) };
}

// filled leaves out columns in which nothing stands.
export function filled(heads: Head[], rows: unknown[][]): { heads: Head[]; rows: unknown[][] } {
  const at = heads
    .map((_, i) => i)
    .filter((i) => rows.some((row) => row[i] !== null && row[i] !== undefined && row[i] !== ''));
  return { heads: at.map((i) => heads[i] as Head), rows: rows.map((row) => at.map((i) => row[i])) };
}
