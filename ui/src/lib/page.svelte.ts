// The one state of the page: what its address says, the time at the server, and
// whether numbers move.

import { base } from './api';
import { carried, format, parse, timeless, type State, type View } from './url';

// rest is the least time between two beats, in ms: the server has more to do than to
// answer pages.
const rest = 4500;

class Page {
  #state: State = $state(parse(location.search));
  // beat grows whenever something new may be there.
  beat = $state(0);
  paused = $state(false);
  link: 'live' | 'lost' | 'waiting' = $state('waiting');
  #skew = 0;
  #end: number | null = $state(null); // of a recording, in seconds
  #last = 0; // when the last beat was

  constructor() {
    addEventListener('popstate', () => (this.#state = parse(location.search)));
  }

  get view(): View {
    return this.#state.view;
  }
  get since(): string {
    return this.#state.since;
  }
  get until(): string {
    return this.#state.until;
  }
  get where(): string[] {
    return this.#state.where;
  }
  get state(): State {
    return this.#state;
  }
  get moves(): boolean {
    if (this.#end !== null) return false;
    return this.#state.until === 'now' || timeless.has(this.#state.view);
  }

  own(name: string, otherwise = ''): string {
    return this.#state.own[name] ?? otherwise;
  }

  // now is the server's time in seconds, as far as its answers told; of a recording its
  // end.
  get now(): number {
    if (this.#end !== null) return this.#end;
    return Date.now() / 1000 + this.#skew;
  }

  // hear takes the server's time, which comes in whole seconds; it stands still if the
  // answer is of a recording.
  hear(at: number | null, still: boolean): void {
    if (still) this.#end = at;
    if (at === null || still) return;
    const skew = at - Date.now() / 1000;
    if (Math.abs(skew - this.#skew) > 2) this.#skew = skew;
  }

  // go changes the address; a step that the reader wants to take back is pushed.
  go(change: Partial<Omit<State, 'own'>> & { own?: Record<string, string> }, replace = false): void {
    const next = { ...this.#state, ...change, own: { ...this.#state.own, ...change.own } };
    this.#set(next, replace);
  }

  open(view: View): void {
    this.#set(carried(this.#state, view), false);
  }

  address(view: View): string {
    return format(carried(this.#state, view));
  }

  // only adds a condition, in place of one on the same field.
  only(field: string, value: string): void {
    const rest = this.#state.where.filter((w) => !w.startsWith(field + '='));
    this.go({ where: [...rest, `${field}=${value}`] });
  }

  drop(condition: string): void {
    this.go({ where: this.#state.where.filter((w) => w !== condition) });
  }

  #set(next: State, replace: boolean): void {
    const url = format(next);
    if (url !== location.search) history[replace ? 'replaceState' : 'pushState'](null, '', url);
    this.#state = next;
  }

  // listen hears the server's ticks, and comes back if it goes away: at once, then
  // after 1, 2, 4 … 30 s. It returns what ends it.
  listen(): () => void {
    let source: EventSource | undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let wait = 1000;
    const open = () => {
      source = new EventSource(base + 'events?kinds=');
      source.addEventListener('open', () => {
        this.link = 'live';
        wait = 1000;
      });
      source.addEventListener('tick', () => this.#tick());
      source.addEventListener('error', () => {
        this.link = 'lost';
        source?.close();
        clearTimeout(timer);
        timer = setTimeout(open, wait);
        wait = Math.min(wait * 2, 30_000);
      });
    };
    open();
    return () => {
      source?.close();
      clearTimeout(timer);
    };
  }

  #tick(): void {
    this.link = 'live';
    if (this.paused || !this.moves || document.hidden || Date.now() - this.#last < rest) return;
    this.#last = Date.now();
    this.beat++;
  }
}

export const page = new Page();
