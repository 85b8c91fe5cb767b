// Asking the API and asking anew, as views do.

import { untrack } from 'svelte';
import { get, post, Problem } from './api';
import { page } from './page.svelte';

export class Asked<T> {
  data: T | undefined = $state.raw();
  problem: Problem | undefined = $state.raw();
  waiting = $state(false);
  // at is when the answer came, in the server's seconds.
  at = $state(0);
  // again asks once more, at once.
  again: () => void = () => undefined;
}

// ask fetches what url gives, again when that changes, and again on each beat
// while the page is live. The last answer stays until the next one is there. An
// answer that takes longer than a beat is waited for. Null asks for nothing. With a
// body it is posted.
export function ask<T>(
  url: () => string | null,
  moves: boolean | (() => boolean) = true,
  body?: () => unknown,
): Asked<T> {
  const asked = new Asked<T>();
  let running: AbortController | undefined;

  async function fetchIt(from: string): Promise<void> {
    const mine = new AbortController();
    running = mine;
    asked.waiting = true;
    try {
      const told = await (body ? post<T>(from, untrack(body), mine.signal) : get<T>(from, mine.signal));
      if (running !== mine) return;
      page.hear(told.at, told.still);
      asked.at = page.now;
      asked.data = told.data;
      asked.problem = undefined;
    } catch (error) {
      if (running !== mine || mine.signal.aborted) return;
      asked.problem = error instanceof Problem ? error : new Problem(String(error), 0, '');
    }
    asked.waiting = false;
    running = undefined;
  }

  $effect(() => {
    const from = url();
    body?.();
    untrack(() => {
      running?.abort();
      running = undefined;
      asked.problem = undefined;
      if (from === null) {
        asked.data = undefined;
        asked.waiting = false;
      } else void fetchIt(from);
    });
    return () => running?.abort();
  });

  asked.again = () => {
    const from = url();
    if (from !== null) void fetchIt(from);
  };

  $effect(() => {
    const beat = page.beat;
    untrack(() => {
      const from = url();
      // A question that is wrong stays so.
      const wrong = (asked.problem?.status ?? 0) >= 400 && (asked.problem?.status ?? 0) < 500;
      const due = typeof moves === 'function' ? moves() : moves;
      if (due && beat > 0 && !wrong && from !== null && running === undefined) void fetchIt(from);
    });
  });

  return asked;
}
