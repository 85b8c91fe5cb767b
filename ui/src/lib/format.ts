// Numbers as people read them. All are pure; none knows a language but for the
// decimal point, which is the same in both.

const prefixes = ['', 'k', 'M', 'G', 'T', 'P'];

// short gives three digits and a prefix of 1000: 12, 1.23k, 45.6M.
export function short(n: number): string {
  const size = Math.abs(n);
  if (size < 1000) return Number.isInteger(n) ? String(n) : trimmed(n, size >= 100 ? 0 : size >= 10 ? 1 : 2);
  let step = Math.min(Math.floor(Math.log10(size) / 3), prefixes.length - 1);
  // 999,999 is 1.00M, not 1000k.
  if (step < prefixes.length - 1 && size / 1000 ** step >= 999.5) step++;
  const scaled = n / 1000 ** step;
  const left = Math.abs(scaled);
  return scaled.toFixed(left >= 99.95 ? 0 : left >= 9.995 ? 1 : 2) + (prefixes[step] ?? '');
}

function trimmed(n: number, digits: number): string {
  return n.toFixed(digits).replace(/\.?0+$/, '') || '0';
}

export function whole(n: number): string {
  return Math.round(n).toLocaleString('en-US');
}

// bytes gives a size: 12 B, 2.05 kB.
export function bytes(n: number): string {
  return short(n).replace(/[kMGTP]?$/, ' $&B');
}

// micros gives a duration that came in microseconds: 850 µs, 12.3 ms, 1.20 s.
export function micros(us: number): string {
  if (us < 1000) return short(Math.round(us)) + ' µs';
  if (us < 999_500) return short(us / 1000) + ' ms';
  return span(us / 1e6);
}

// span gives a duration in seconds, its two largest units: 1.2 s, 3 min 4 s, 2 d 3 h.
export function span(s: number): string {
  if (s < 59.95) return trimmed(s, s < 9.95 ? 2 : 1) + ' s';
  const units: [number, string][] = [
    [86400, 'd'],
    [3600, 'h'],
    [60, 'min'],
    [1, 's'],
  ];
  let left = Math.round(s);
  const parts: string[] = [];
  for (const [size, name] of units) {
    const n = Math.floor(left / size);
    left -= n * size;
    if (n > 0) parts.push(`${n} ${name}`);
    if (parts.length === 2 || (parts.length === 1 && n === 0)) break;
  }
  return parts.join(' ');
}

export function percent(part: number, all: number): string {
  if (all === 0) return '–';
  const p = (100 * part) / all;
  if (p === 0) return '0 %';
  if (p < 0.01) return '< 0.01 %';
  return trimmed(p, p < 1 ? 2 : p < 10 ? 1 : 0) + ' %';
}

// value gives a number in the unit of its field.
export function value(n: number, unit: string): string {
  if (unit === 'bytes') return bytes(n);
  if (unit === 'us') return micros(n);
  if (unit === 's') return span(n);
  return short(n);
}

// rate gives a number for each second, in the unit of its field.
export function rate(n: number, unit: string): string {
  return unit === 'us' || unit === 's' ? value(n, unit) : value(n, unit) + '/s';
}

const two = (n: number) => String(n).padStart(2, '0');

// clock gives the local time of day, with the date if it is not that of `now`,
// fine with milliseconds if it has any.
export function clock(at: number, now: number, fine = false): string {
  const d = new Date(at * 1000);
  const time =
    `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}` +
    (fine && d.getMilliseconds() ? `.${String(d.getMilliseconds()).padStart(3, '0')}` : '');
  const today = new Date(now * 1000);
  if (d.toDateString() === today.toDateString()) return time;
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${time}`;
}

// tick gives the local time under an axis whose ticks are `step` seconds apart: the
// day where one begins.
export function tick(at: number, step: number): string {
  const d = new Date(at * 1000);
  if (step >= 86400 || (d.getHours() === 0 && d.getMinutes() === 0 && d.getSeconds() === 0)) {
    return `${two(d.getMonth() + 1)}-${two(d.getDate())}`;
  }
  return `${two(d.getHours())}:${two(d.getMinutes())}` + (step < 60 ? `:${two(d.getSeconds())}` : '');
}

// text gives any value of a cell of the API.
export function text(v: unknown): string {
  if (v === null || v === undefined || v === '') return '';
  if (Array.isArray(v)) return v.map(text).join(', ');
  if (typeof v === 'object') return JSON.stringify(v);
  return String(v);
}

// csv writes a table as RFC 4180 wants it. A cell that a spreadsheet would run as
// a formula is not one: names come from the network.
export function csv(columns: string[], rows: unknown[][]): string {
  const cell = (v: unknown) => {
    let s = text(v);
    if (typeof v === 'string' && /^[=+\-@\t\r]/.test(s)) s = "'" + s;
    return /[",\r\n]/.test(s) ? '"' + s.replaceAll('"', '""') + '"' : s;
  };
  return [columns, ...rows].map((row) => row.map(cell).join(',')).join('\r\n') + '\r\n';
}
