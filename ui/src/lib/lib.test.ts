import { describe, expect, test } from 'vitest';
import type { Fate, Graph, Held, Link, Table } from './api';
import { address } from './api';
import { band, books, compare, drawable, label, layout, losses, within } from './fate';
import { bytes, csv, micros, percent, short, span, text, tick } from './format';
import { draw } from './graph';
import { found, whose } from './programs';
import { perSecond } from './series';
import { condition, drawn, slowest } from './sql';
import { joined } from './tables';
import { absolute, earlier, rfc3339, shifted, zoomed } from './time';
import { en } from './text/en';
import { zh } from './text/zh';
import { carried, format, parse } from './url';

const now = Date.UTC(2026, 2, 14, 3, 10, 0) / 1000;

test('an address is what was put into it', () => {
  for (const query of [
    '?view=fate',
    '?view=traffic&since=-1h&where=comm%3Dnginx&where=dst_port%21%3D53&by=ifname',
    '?view=query&sql=SELECT+%27a%26b%3Dc%27',
    '?view=fate&since=2026-03-14T03:00:00Z&until=2026-03-14T03:05:00Z&pick=NO_SOCKET',
  ]) {
    const state = parse(query);
    expect(parse(format(state))).toEqual(state);
  }
  expect(parse('?view=nothing').view).toBe('fate');
  expect(parse('').since).toBe('-15m');
  expect(parse('?where=a%3Db').where).toEqual(['a=b']);
});

test('another view keeps the time and what means something there', () => {
  const state = parse('?view=traffic&since=-1h&where=comm%3Dnginx&where=ifname%3Deth0&by=comm');
  expect(carried(state, 'dns')).toEqual({ view: 'dns', since: '-1h', until: 'now', where: ['comm=nginx'], own: {} });
  expect(carried(state, 'fate').where).toEqual([]);
});

test('times', () => {
  expect(absolute('now', now)).toBe(now);
  expect(absolute('-15m', now)).toBe(now - 900);
  expect(absolute('-2d', now)).toBe(now - 172800);
  expect(absolute('2026-03-14T03:10:00Z', now)).toBe(now);
  expect(absolute('soon', now)).toBeNull();
  expect(rfc3339(now)).toBe('2026-03-14T03:10:00Z');
});

test('ranges move and zoom, never into the future', () => {
  const r = { since: '-20m', until: 'now' };
  expect(shifted(r, -0.5, now)).toEqual({ since: '2026-03-14T02:40:00Z', until: '2026-03-14T03:00:00Z' });
  expect(shifted(r, 0.5, now)).toEqual({ since: '2026-03-14T02:50:00Z', until: '2026-03-14T03:10:00Z' });
  expect(zoomed(r, 0.5, now)).toEqual({ since: '2026-03-14T02:55:00Z', until: '2026-03-14T03:05:00Z' });
  expect(zoomed(r, 2, now)).toEqual({ since: '2026-03-14T02:30:00Z', until: '2026-03-14T03:10:00Z' });
  const short = { since: '2026-03-14T02:59:20Z', until: '2026-03-14T03:00:40Z' };
  expect(zoomed(short, 0.5, now)).toEqual({ since: '2026-03-14T02:59:30Z', until: '2026-03-14T03:00:30Z' });
  expect(zoomed({ since: 'x', until: 'now' }, 2, now)).toEqual({ since: 'x', until: 'now' });
});

test('what was before moves with the range', () => {
  expect(earlier({ since: '-15m', until: 'now' }, 0, now)).toEqual({ since: '-1800s', until: '-900s' });
  expect(earlier({ since: '2026-03-14T03:00:00Z', until: '2026-03-14T03:10:00Z' }, 3600, now)).toEqual({
    since: '2026-03-14T02:00:00Z',
    until: '2026-03-14T02:10:00Z',
  });
  expect(earlier({ since: 'now', until: 'now' }, 0, now)).toBeNull();
});

test('numbers', () => {
  expect([0, 7, 999, 1000, 12_345, 999_499, 999_999, 1.5e9].map(short)).toEqual([
    '0', '7', '999', '1.00k', '12.3k', '999k', '1.00M', '1.50G',
  ]); // prettier-ignore
  expect([0.25, 12.34, -1500].map(short)).toEqual(['0.25', '12.3', '-1.50k']);
  expect([0, 12, 2048, 1.5e9].map(bytes)).toEqual(['0 B', '12 B', '2.05 kB', '1.50 GB']);
  expect([0, 850, 12_300, 999_499, 999_600, 1_200_000, 90e6].map(micros)).toEqual([
    '0 µs', '850 µs', '12.3 ms', '999 ms', '1 s', '1.2 s', '1 min 30 s',
  ]); // prettier-ignore
  expect([0.5, 59.99, 60, 3600, 183_600].map(span)).toEqual(['0.5 s', '1 min', '1 min', '1 h', '2 d 3 h']);
  expect([percent(0, 5), percent(1, 1e6), percent(1, 3), percent(1, 0)]).toEqual(['0 %', '< 0.01 %', '33 %', '–']);
  expect(text([1, null, 'a'])).toBe('1, , a');
  expect(tick(new Date(2026, 2, 14, 0, 0, 0).getTime() / 1000, 60)).toBe('03-14');
});

test('a spreadsheet runs nothing', () => {
  expect(
    csv(
      ['a', 'b'],
      [
        ['=cmd()', 'x,"y"'],
        [-5, null],
      ],
    ),
  ).toBe('a,b\r\n\'=cmd(),"x,""y"""\r\n-5,\r\n');
});

const loss = (from: string, to: string, packets: number, verdict = 'resource'): Link => ({
  from, to, packets, kind: 'loss', verdict, reason: to,
}); // prettier-ignore
const pass = (from: string, to: string, packets: number): Link => ({ from, to, packets, kind: 'pass' });

describe('fate', () => {
  const links = [
    pass('in/device', 'in/ip', 1000),
    loss('in/ip', 'NETFILTER_DROP', 10, 'policy'),
    pass('in/ip', 'delivered', 985),
    { from: 'in/ip', to: 'unexplained', packets: -5, kind: 'remainder' as const },
    loss('out/queue', 'QDISC_DROP', 40),
    pass('out/queue', 'delivered', 400),
  ];

  test('names are taken apart', () => {
    expect(label('in/device')).toEqual({ direction: 'in', line: 'device' });
    expect(label('delivered')).toEqual({ direction: '', line: 'delivered' });
  });

  test('ends are each direction’s own, and remainders have a size', () => {
    const both = drawable(links, '');
    expect(both.map((l) => l.to)).toEqual([
      'in/ip', 'in/loss/NETFILTER_DROP', 'in/pass/delivered', 'in/remainder/unexplained', 'out/loss/QDISC_DROP', 'out/pass/delivered',
    ]); // prettier-ignore
    expect(both[3]?.packets).toBe(5);
    expect(drawable(links, 'out').length).toBe(2);
  });

  test('no circle is drawn, nor nothing', () => {
    const round = [pass('in/a', 'in/b', 1), pass('in/b', 'in/c', 1), pass('in/c', 'in/a', 1), pass('in/c', 'in/d', 0)];
    expect(drawable(round, '').map((l) => l.to)).toEqual(['in/b', 'in/c']);
    expect(() => layout(drawable(round, ''), 400, 200, 60)).not.toThrow();
  });

  test('one packet in a million has a line', () => {
    const few = [pass('in/a', 'in/b', 1e6), loss('in/b', 'X', 1)];
    const drawnFew = layout(drawable(few, ''), 800, 300, 100);
    const thin = drawnFew.links.find((l) => l.link.kind === 'loss');
    expect(thin?.width ?? 0).toBeGreaterThan(1);
    expect(thin && band(thin, 2)).toMatch(/^M[\d.]+,[\d.]+C.*Z$/);
  });

  test('losses come with the ledger’s line, largest first', () => {
    const entry = (station: string, what: string) => ({
      station,
      what,
      line: 'lost',
      direction: 'in',
      layer: 'netfilter',
    });
    const fate = {
      links,
      entries: [entry('total', 'NETFILTER_DROP'), entry('ip', 'NETFILTER_DROP')],
    } as unknown as Fate;
    const all = losses(fate);
    expect(all.map((l) => [l.reason, l.packets, l.layer])).toEqual([
      ['QDISC_DROP', 40, 'queue'],
      ['NETFILTER_DROP', 10, 'netfilter'],
    ]);
    expect(all[1]?.lines.map((e) => e.station)).toEqual(['ip']);
  });

  test('before and after are compared by time', () => {
    const one = (reason: string, packets: number) => ({
      reason,
      packets,
      verdict: 'loss',
      direction: '',
      layer: '',
      entry: undefined,
      lines: [],
    });
    expect(compare([one('A', 10), one('B', 60)], 10, [one('B', 60), one('C', 1)], 60)).toEqual([
      { reason: 'B', verdict: 'loss', before: 6, after: 1 },
      { reason: 'A', verdict: 'loss', before: 1, after: 0 },
      { reason: 'C', verdict: 'loss', before: 0, after: 1 / 60 },
    ]);
  });
});

test('series are rates, holes stay, names differ', () => {
  const s = {
    unit: 'bytes',
    step_s: 10,
    times: [0, 10],
    lines: [
      { key: [''], values: [100, null] },
      { key: [''], values: [0, 5] },
    ],
  };
  expect(perSecond(s, () => 'x')).toEqual({
    times: [0, 10],
    lines: [
      { label: 'x', values: [10, null] },
      { label: 'x (2)', values: [0, 0.5] },
    ],
  });
});

test('the graph has this host left and peers right, as far as edges go', () => {
  const graph: Graph = {
    nodes: [
      { id: 'p', label: 'nginx', kind: 'process', bytes: 10 },
      { id: 'q', label: '10.0.0.1', kind: 'peer', bytes: 9 },
      { id: 'r', label: 'unused', kind: 'peer', bytes: 1 },
    ],
    edges: [
      { from: 'p', to: 'q', bytes: 9, packets: 1 },
      { from: 'p', to: 'gone', bytes: 1, packets: 1 },
    ],
  };
  const d = draw(graph, 800, 10);
  expect(d.spots.map((s) => [s.label, s.right])).toEqual([
    ['nginx', false],
    ['10.0.0.1', true],
  ]);
  expect(d.curves.length).toBe(1);
});

test('conditions mean in SQL what they mean in the API', () => {
  expect(condition("comm=o'hara")).toBe("(comm = 'o''hara')");
  expect(condition('error!=')).toBe('(error IS NULL) IS NOT TRUE');
  expect(condition('path=/a_*|/b')).toBe("(CAST(path AS VARCHAR) LIKE '/a\\_%' ESCAPE '\\' OR path = '/b')");
  expect(condition("comm'; DROP=1")).toBe('true');
  expect(slowest('requests', 'latency_us', { since: '-10m', until: 'now' }, ['comm=a'], now, 5)).toBe(
    "SELECT * FROM requests WHERE time >= TIMESTAMP '2026-03-14 03:00:00' AND time < TIMESTAMP '2026-03-14 03:10:00' AND latency_us IS NOT NULL AND (comm = 'a') ORDER BY latency_us DESC LIMIT 5",
  );
});

test('an answer with times and numbers is drawn', () => {
  const table: Table = {
    columns: [
      { name: 'minute', type: 'TIMESTAMP' },
      { name: 'n', type: 'BIGINT' },
      { name: 'word', type: 'VARCHAR' },
    ],
    rows: [
      ['2026-03-14T03:01:00Z', 2, 'b'],
      ['2026-03-14T03:00:00Z', null, 'a'],
    ],
  };
  expect(drawn(table)).toEqual({ times: [now - 600, now - 540], lines: [{ label: 'n', values: [null, 2] }] });
  expect(drawn({ ...table, columns: table.columns.slice(1) })).toBeNull();
});

test('rows of two answers wait for the one that has more', () => {
  const columns = ['time', 'n'].map((name) => ({ name, type: 'string' }));
  const at = (second: number, n: number) => [`2026-03-14T03:00:${String(second).padStart(2, '0')}Z`, n];
  const a = { columns, rows: [at(50, 1), at(40, 2)] };
  const b = { columns, rows: [at(45, 3), at(40, 2), at(30, 4)] };
  const numbers = (left: boolean) =>
    joined([
      { rows: a, left },
      { rows: b, left: false },
    ]).rows.map((row) => row[1]);
  // Of the first answer older rows than 40 s are still to come.
  expect(numbers(true)).toEqual([1, 3, 2]);
  expect(numbers(false)).toEqual([1, 3, 2, 4]);
  expect(joined([{ rows: undefined, left: false }]).rows).toEqual([]);
});

test('books are each there once, by what the API calls them', () => {
  const rows = [
    ['host', null, null, null, 9],
    ['netns', 17, null, null, 5],
    ['interface', 17, 'web', 'eth0', 4],
    ['netns', 17, 'web', null, 3],
    ['~other', '~other', '~other', '~other', 1],
  ];
  expect(books({ columns: [], rows })).toEqual([
    { scope: 'netns:17', netns: 17, name: 'web', ifname: '' },
    { scope: 'if:17/eth0', netns: 17, name: 'web', ifname: 'eth0' },
  ]);
  expect(within('if:17/eth0')).toEqual(['netns=17', 'ifname=eth0']);
  expect(within('netns:17')).toEqual(['netns=17']);
  expect(within('')).toEqual([]);
});

test('programs are found by any of their words', () => {
  const held: Held = { owners: [{ pid: 7, comm: 'agent' }], pins: ['/sys/fs/bpf/x'], netfate: false, object: 'urls' };
  expect(whose(held)).toBe('netfate run: urls, agent (7), /sys/fs/bpf/x');
  const one = { ...held, id: 41, name: 'guard' };
  const kept = (words: string) => found([one], words, () => ['xdp']).length;
  expect(['GUARD xdp', 'agent 41', '', 'guard tc'].map(kept)).toEqual([1, 1, 1, 0]);
});

test('questions repeat conditions and leave out what is empty', () => {
  expect(address('rows/drops', { since: '-1h', where: ['a=b', 'c!=d'], by: '' })).toBe(
    'api/v1/rows/drops?since=-1h&where=a%3Db&where=c%21%3Dd',
  );
});

test('every language puts the same things in', () => {
  const holes = (s: string) => [...s.matchAll(/\{(\w+)\}/g)].map((m) => m[1]).sort();
  for (const key of Object.keys(en) as (keyof typeof en)[])
    expect([key, holes(zh[key])]).toEqual([key, holes(en[key])]);
});
