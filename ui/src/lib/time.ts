// Times as the API takes them: RFC 3339, or relative to now.

const seconds: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400 };

// absolute turns a time into seconds since 1970; null if it is none.
export function absolute(text: string, now: number): number | null {
  if (text === 'now') return now;
  const relative = /^-(\d+)([smhd])$/.exec(text);
  if (relative) return now - Number(relative[1]) * (seconds[relative[2] ?? ''] ?? 0);
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? null : ms / 1000;
}

export function rfc3339(at: number): string {
  return new Date(Math.round(at * 1000)).toISOString().replace(/\.000Z$/, 'Z');
}

export interface Range {
  since: string;
  until: string;
}

// shifted moves a range by a share of its own length, back if that is negative.
export function shifted(r: Range, share: number, now: number): Range {
  return scaled(r, now, (from, length) => [from + share * length, from + length + share * length]);
}

// zoomed makes a range longer (factor > 1) or shorter about its middle, but not shorter
// than a minute: that is what a row of the history is of.
export function zoomed(r: Range, factor: number, now: number): Range {
  return scaled(r, now, (from, length) => {
    const half = Math.max((length * factor) / 2, 30);
    return [from + length / 2 - half, from + length / 2 + half];
  });
}

// A range that would end in the future ends now, at the same length.
function scaled(r: Range, now: number, f: (from: number, length: number) => [number, number]): Range {
  const from = absolute(r.since, now);
  const to = absolute(r.until, now);
  if (from === null || to === null || to <= from) return r;
  let [a, b] = f(from, to - from);
  if (b > now) [a, b] = [a - (b - now), now];
  return { since: rfc3339(a), until: rfc3339(b) };
}

// earlier is the range of the same length that ended `by` seconds before; by 0 is
// the one right before. That of a range which moves moves, too.
export function earlier(r: Range, by: number, now: number): Range | null {
  const from = absolute(r.since, now);
  const to = absolute(r.until, now);
  if (from === null || to === null || to <= from) return null;
  const back = by || to - from;
  const moves = [r.since, r.until].every((time) => time === 'now' || time.startsWith('-'));
  if (moves) return { since: `-${Math.round(now - from + back)}s`, until: `-${Math.round(now - to + back)}s` };
  return { since: rfc3339(from - back), until: rfc3339(to - back) };
}
