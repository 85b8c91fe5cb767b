// What the view Query needs to know of statements and answers.

import type { Column, Table } from './api';
import type { Key } from './text/en';
import { absolute, rfc3339, type Range } from './time';

export const examples: { name: Key; sql: string }[] = [
  {
    name: 'query.ex.loss',
    sql: `SELECT reason, verdict, sum(packets) AS packets\nFROM drops\nWHERE verdict <> 'benign' AND time > now() - INTERVAL 1 HOUR\nGROUP BY ALL ORDER BY packets DESC LIMIT 20`,
  },
  {
    name: 'query.ex.talkers',
    sql: `SELECT comm, dst_addr, sum(host_bytes) AS bytes\nFROM flows\nWHERE time > now() - INTERVAL 1 HOUR\nGROUP BY ALL ORDER BY bytes DESC LIMIT 20`,
  },
  {
    name: 'query.ex.minutes',
    sql: `SELECT time_bucket(INTERVAL 1 MINUTE, time) AS minute, sum(host_bytes) AS bytes\nFROM flows\nWHERE time > now() - INTERVAL 1 HOUR\nGROUP BY minute ORDER BY minute`,
  },
  {
    name: 'query.ex.slow',
    sql: `SELECT host_name, path, sum(requests) AS requests, max(latency_us) AS slowest_us\nFROM requests\nWHERE time > now() - INTERVAL 1 HOUR\nGROUP BY ALL ORDER BY slowest_us DESC LIMIT 20`,
  },
  {
    name: 'query.ex.refused',
    sql: `SELECT error, dst_addr, dst_port, comm, sum(failed) AS failures\nFROM conns\nWHERE error IS NOT NULL AND time > now() - INTERVAL 1 HOUR\nGROUP BY ALL ORDER BY failures DESC LIMIT 20`,
  },
  {
    name: 'query.ex.retransmits',
    sql: `SELECT comm, dst_addr, sum(retransmits) AS again, sum(packets_out) AS sent\nFROM flows\nWHERE time > now() - INTERVAL 1 HOUR\nGROUP BY ALL HAVING again > 0 ORDER BY again DESC LIMIT 20`,
  },
  {
    name: 'query.ex.dns',
    sql: `SELECT qname, comm, sum(queries) AS questions\nFROM queries\nWHERE rcode = 'NXDOMAIN' AND time > now() - INTERVAL 1 HOUR\nGROUP BY ALL ORDER BY questions DESC LIMIT 20`,
  },
  {
    name: 'query.ex.spoilt',
    sql: `SELECT place, reason, sum(count) AS count, any_value(effect) AS effect\nFROM lost\nWHERE time > now() - INTERVAL 1 DAY\nGROUP BY ALL ORDER BY count DESC`,
  },
];

const quoted = (value: string) => `'${value.replaceAll("'", "''")}'`;

// condition puts one of the page's into SQL, with the same meaning: values by |, *
// for any characters, an empty value is null. What is none holds always.
export function condition(text: string): string {
  const parts = /^([a-z][a-z0-9_]*)(!?)=(.*)$/s.exec(text);
  if (!parts) return 'true';
  const [, field = '', not = '', values = ''] = parts;
  const any = values.split('|').map((v) => {
    if (v === '') return `${field} IS NULL`;
    if (!v.includes('*')) return `${field} = ${quoted(v)}`;
    const pattern = v.replace(/[\\%_]/g, '\\$&').replaceAll('*', '%');
    return `CAST(${field} AS VARCHAR) LIKE ${quoted(pattern)} ESCAPE '\\'`;
  });
  // What is null is unequal, too.
  return not ? `(${any.join(' OR ')}) IS NOT TRUE` : `(${any.join(' OR ')})`;
}

// slowest asks for the rows of a time range with the largest value.
export function slowest(kind: string, order: string, r: Range, where: string[], now: number, most: number): string {
  const at = (time: string) =>
    `TIMESTAMP ${quoted(
      rfc3339(Math.floor(absolute(time, now) ?? now))
        .replace('T', ' ')
        .replace('Z', ''),
    )}`;
  const all = [`time >= ${at(r.since)}`, `time < ${at(r.until)}`, `${order} IS NOT NULL`, ...where.map(condition)];
  return `SELECT * FROM ${kind} WHERE ${all.join(' AND ')} ORDER BY ${order} DESC LIMIT ${most}`;
}

const numeric = (c: Column) => /^(u?int|float|double|decimal|hugeint|u?bigint|smallint|tinyint|integer)/i.test(c.type);
const timely = (c: Column) => /^(time|timestamp|date)/i.test(c.type);

export interface Drawn {
  times: number[];
  lines: { label: string; values: (number | null)[] }[];
}

// drawn makes lines of an answer whose first column is a time and that has numbers
// beside it; null of any other. Rows come in any order.
export function drawn(table: Table): Drawn | null {
  const first = table.columns[0];
  if (!first || !timely(first) || table.rows.length < 2) return null;
  const at = table.columns.map((c, i) => ({ c, i })).filter(({ c, i }) => i > 0 && numeric(c));
  if (at.length === 0) return null;
  const rows = table.rows
    .map((row) => ({ row, time: typeof row[0] === 'number' ? row[0] : Date.parse(String(row[0])) / 1000 }))
    .filter((r) => !Number.isNaN(r.time))
    .sort((a, b) => a.time - b.time);
  return {
    times: rows.map((r) => r.time),
    lines: at.map(({ c, i }) => ({
      label: c.name,
      values: rows.map(({ row }) => (row[i] === null || row[i] === undefined ? null : Number(row[i]))),
    })),
  };
}
