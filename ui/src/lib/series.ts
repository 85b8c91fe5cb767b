// From the API's series to lines of a chart.

import type { Series } from './api';

export interface Lines {
  times: number[];
  lines: { label: string; values: (number | null)[] }[];
}

// perSecond divides sums by the length of their step. A value that is not known
// stays so: the line has a hole there.
export function perSecond(s: Series, name: (key: string[]) => string): Lines {
  return shaped(s, name, (v) => v / Math.max(s.step_s, 1));
}

function shaped(s: Series, name: (key: string[]) => string, f: (v: number) => number): Lines {
  const used = new Map<string, number>();
  return {
    times: s.times,
    lines: s.lines.map((l) => {
      let label = name(l.key);
      const before = used.get(label) ?? 0;
      used.set(label, before + 1);
      if (before > 0) label += ` (${before + 1})`;
      return { label, values: l.values.map((v) => (v === null ? null : f(v))) };
    }),
  };
}
