package bpfmap

import (
	"bytes"
	"context"
	"slices"
)

// DumpSorted is Dump with the greatest values first: by the first number of the
// value, summed over the CPUs. With top it gives that many entries and holds no
// more than some thousand others at a time; with 0 all, and holds all of them.
func (m *Map) DumpSorted(ctx context.Context, top int, each func(*Entry) error) (Report, error) {
	type kept struct {
		entry  Entry
		number []Number
		sum    []byte
	}
	var all []kept
	w := newWatcher(m, WatchOptions{})
	sort := func() {
		slices.SortStableFunc(all, func(a, b kept) int {
			if len(a.number) == 0 || len(b.number) == 0 {
				return len(b.number) - len(a.number)
			}
			n := a.number[0]
			return order(b.number[0].Of(b.sum), n.Of(a.sum), n.Signed)
		})
		if top > 0 && len(all) > top {
			clear(all[top:])
			all = all[:top]
		}
	}
	report, err := m.Dump(ctx, func(e *Entry) error {
		k := kept{entry: *e, sum: bytes.Clone(w.summer(e.ValueType).Sum(e.Values))}
		k.number = w.numbersOf(e.ValueType, len(k.sum))
		k.entry.Key = bytes.Clone(e.Key)
		k.entry.Values = make([][]byte, len(e.Values))
		for i, v := range e.Values {
			k.entry.Values[i] = bytes.Clone(v)
		}
		if all = append(all, k); top > 0 && len(all) >= 2*top+4096 {
			sort()
		}
		return nil
	})
	if err != nil {
		return report, err
	}
	sort()
	for i := range all {
		if err := each(&all[i].entry); err != nil {
			return report, err
		}
	}
	return report, nil
}
