// The API's answers, as types, and how they are asked for.

export interface Column {
  name: string;
  type: string;
  unit?: string;
}

export interface Lost {
  time?: string;
  place: string;
  reason: string;
  count: number;
  effect?: string | null;
}

interface Spoilt {
  lost?: Lost[];
}

export interface Table extends Spoilt {
  columns: Column[];
  rows: unknown[][];
  next?: string;
  resolution_s?: number;
  cut?: boolean;
  took_ms?: number;
}

export interface Series extends Spoilt {
  unit: string;
  step_s: number;
  times: number[];
  lines: { key: string[]; values: (number | null)[] }[];
}

export interface Entry {
  direction: string;
  layer: string;
  station: string;
  line: string;
  what: string | null;
  location: string | null;
  unit: string;
  packets: number;
  counter: string | null;
  counted: number | null;
  seen: number | null;
  verdict: string | null;
  why: string | null;
  comm: string | null;
  container_name: string | null;
  fact: string | null;
  command: string | null;
}

export interface Link {
  from: string;
  to: string;
  packets: number;
  bytes?: number;
  kind: 'pass' | 'loss' | 'remainder';
  verdict?: string;
  reason?: string;
}

export interface Fate extends Spoilt {
  entries: Entry[] | null;
  links: Link[] | null;
  packets: number;
  remainder_packets: number;
  unit?: string;
}

export interface Graph extends Spoilt {
  nodes: { id: string; label: string; kind: 'process' | 'container' | 'peer'; bytes: number }[] | null;
  edges: Edge[] | null;
}

export interface Edge {
  from: string;
  to: string;
  bytes: number;
  packets: number;
  connections?: number | null;
  rtt_us_p50?: number | null;
  rtt_us_p95?: number | null;
  errors?: number | null;
}

export interface Heat extends Spoilt {
  bounds_us: number[];
  times: number[];
  counts: number[][];
}

export interface Explanation {
  reason: string;
  verdict: string;
  meaning: string;
  causes: string[] | null;
  confirm: string[] | null;
  fix: string[] | null;
  evidence: { key: string; name: string; value: string; note?: string }[] | null;
}

export interface Status {
  host: string;
  version: string;
  started: string;
  time: string;
  recording?: { file: string; start: string; end: string };
  store?: {
    engine: string;
    path: string;
    bytes: number;
    oldest: string | null;
    degraded?: string;
    kinds: { kind: string; resolution_s: number; rows: number; oldest: string | null; newest: string | null }[] | null;
    dropped: Record<string, number> | null;
  };
  sensors:
    | {
        name: string;
        programs: number;
        events: number | null; // this and the next two only where the kernel measures
        ns_per_event: number | null;
        cpu_percent: number | null;
        memory_bytes: number | null;
        lacks: string[] | null;
      }[]
    | null;
  process: { cpu_percent: number; rss_bytes: number; goroutines: number };
  lost: Lost[] | null;
  kernel: { release: string; features: { name: string; ok: boolean; costs?: string }[] | null };
}

export interface Held {
  owners: { pid: number; comm: string }[];
  pins: string[];
  netfate: boolean;
  object: string;
}

export interface Program extends Held {
  id: number;
  kind: string;
  name: string;
  loaded: string;
  runs: number;
  ns_per_run: number | null;
  runs_per_second: number | null; // this and the next one only between two looks
  cpu_percent: number | null;
  memory_bytes: number;
  map_ids: number[];
  attached: { how: string; where: string; link_id?: number }[];
}

export interface BPFMap extends Held {
  id: number;
  name: string;
  type: string;
  key_bytes: number;
  value_bytes: number;
  max_entries: number;
  memory_bytes: number;
  program_ids: number[];
}

export interface Programs {
  programs: Program[];
  maps: BPFMap[];
  counted: boolean;
  rates_s: number;
  cut: boolean;
  missed: string[];
}

// Problem is an answer that says why there is none (RFC 9457).
export class Problem extends Error {
  constructor(
    readonly title: string,
    readonly status: number,
    readonly detail: string,
  ) {
    super(detail || title);
  }
}

export const base = 'api/v1/';

// address builds the path of a question; empty values are left out, lists repeated.
export function address(path: string, params: Record<string, string | number | string[] | undefined> = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (Array.isArray(value)) for (const v of value) query.append(name, v);
    else if (value !== undefined && value !== '') query.set(name, String(value));
  }
  const text = query.toString();
  return base + path + (text ? '?' + text : '');
}

// Told is an answer, and when the server gave it, in seconds: its clock counts, not
// this machine's. It stands still at the end of a recording.
export interface Told<T> {
  data: T;
  at: number | null;
  still: boolean;
}

export async function get<T>(url: string, signal?: AbortSignal): Promise<Told<T>> {
  return answer<T>(fetch(url, { signal: signal ?? null, headers: { Accept: 'application/json' } }));
}

export async function post<T>(url: string, body: unknown, signal?: AbortSignal): Promise<Told<T>> {
  return answer<T>(
    fetch(url, {
      method: 'POST',
      signal: signal ?? null,
      headers: { 'Content-Type': 'application/json', Accept: 'application/json' },
      body: JSON.stringify(body),
    }),
  );
}

async function answer<T>(asked: Promise<Response>): Promise<Told<T>> {
  let response: Response;
  try {
    response = await asked;
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new Problem('unreachable', 0, '');
  }
  const body: unknown = await response.json().catch(() => null);
  if (response.ok && body !== null) {
    const end = response.headers.get('Netfate-Time');
    const at = Date.parse(end ?? response.headers.get('Date') ?? '') / 1000;
    return { data: body as T, at: Number.isNaN(at) ? null : at, still: end !== null };
  }
  const p = (body ?? {}) as { title?: string; detail?: string };
  throw new Problem(p.title ?? response.statusText, response.status, p.detail ?? '');
}
