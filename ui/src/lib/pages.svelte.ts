// Rows page by page.

import { get, Problem, type Table } from './api';
import { ask, type Asked } from './ask.svelte';

export interface Paged {
  first: Asked<Table>;
  // rows are those of all pages that were asked for.
  readonly rows: Table | undefined;
  // left says that the server has more.
  readonly left: boolean;
  // stands says that further pages are there.
  readonly stands: boolean;
  readonly asking: boolean;
  more: () => Promise<void>;
  // back returns to the first page, as it is now.
  back: () => void;
}

// pages asks for rows as ask does, and for those after them when the reader wants
// more. While more than the first page is there it stands still: what came meanwhile
// would push rows from page to page.
export function pages(url: () => string | null): Paged {
  let rest: Table[] = $state.raw([]);
  let asking = $state(false);
  const first = ask<Table>(url, () => rest.length === 0);
  const next = $derived((rest.at(-1) ?? first.data)?.next ?? '');
  const rows = $derived(first.data && { ...first.data, rows: [first.data, ...rest].flatMap((t) => t.rows) });

  $effect(() => {
    url();
    rest = [];
  });

  async function more(): Promise<void> {
    const from = url();
    if (from === null || next === '' || asking) return;
    asking = true;
    try {
      const told = await get<Table>(`${from}&after=${encodeURIComponent(next)}`);
      if (url() === from) rest = [...rest, told.data];
    } catch (error) {
      first.problem = error instanceof Problem ? error : new Problem(String(error), 0, '');
    }
    asking = false;
  }

  return {
    first,
    get rows() {
      return rows;
    },
    get left() {
      return next !== '';
    },
    get stands() {
      return rest.length > 0;
    },
    get asking() {
      return asking;
    },
    more,
    back: () => {
      rest = [];
      first.again();
    },
  };
}
