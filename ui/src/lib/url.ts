// What the page shows is in its address, all of it: whoever opens the same
// address sees the same view. Only language and theme stay with the reader.

export const views = ['fate', 'traffic', 'requests', 'connections', 'dns', 'programs', 'query', 'status'] as const;
export type View = (typeof views)[number];

// Some views are of now, whatever the time range says.
export const timeless = new Set<View>(['programs', 'query', 'status']);

export interface State {
  view: View;
  since: string; // relative (-15m) or RFC 3339
  until: string;
  where: string[]; // field=value, field!=value
  // What one view has besides: by, measure, pick, before, sql …
  own: Record<string, string>;
}

export const defaults = { view: 'fate', since: '-15m', until: 'now' } as const;

export function parse(search: string): State {
  const params = new URLSearchParams(search);
  const state: State = { ...defaults, where: [], own: {} };
  for (const [name, value] of params) {
    if (name === 'view') {
      if ((views as readonly string[]).includes(value)) state.view = value as View;
    } else if (name === 'since' || name === 'until') {
      if (value) state[name] = value;
    } else if (name === 'where') state.where.push(value);
    else if (value) state.own[name] = value;
  }
  return state;
}

export function format(state: State): string {
  const params = new URLSearchParams();
  params.set('view', state.view);
  if (state.since !== defaults.since) params.set('since', state.since);
  if (state.until !== defaults.until) params.set('until', state.until);
  for (const where of state.where) params.append('where', where);
  for (const name of Object.keys(state.own).sort()) {
    const value = state.own[name];
    if (value) params.set(name, value);
  }
  return '?' + readable(params.toString());
}

// readable undoes escapes that a query may do without, so that an address that is
// read aloud makes sense.
function readable(query: string): string {
  return query.replaceAll('%3A', ':').replaceAll('%2C', ',').replaceAll('%2F', '/').replaceAll('%21', '!');
}

// Conditions on these hold for every kind of record that a view asks for.
const common = new Set([
  'netns_name', 'proto', 'src_addr', 'src_port', 'dst_addr', 'dst_port', 'pid', 'comm', 'container_name', 'pod', 'pod_namespace',
]); // prettier-ignore

export function fieldOf(condition: string): string {
  return condition.split(/!?=/, 1)[0] ?? '';
}

// carried is what a reader takes along to another view: the time, and the
// conditions that mean something there.
export function carried(state: State, view: View): State {
  const plain = view === 'fate' || timeless.has(view);
  return {
    view,
    since: state.since,
    until: state.until,
    where: plain ? [] : state.where.filter((w) => common.has(fieldOf(w))),
    own: {},
  };
}
