package bpfmap

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/cilium/ebpf/btf"
)

// MaxWatched is how many keys a Watcher remembers, each with its value: what a map
// has beyond them is counted.
const MaxWatched = 1 << 18

// Row is a key with its value and how that changed since the sample before.
type Row struct {
	Key       []byte
	KeyType   btf.Type
	Value     []byte // summed, or of CPU
	ValueType btf.Type
	CPU       int // -1 if the value is summed or not of a CPU

	Numbers []Number  // integers of the value
	Delta   []int64   // of each number since the sample before; nil if that is not known
	Rate    []float64 // a second; nil if Delta is
	Changed bool      // any byte of the value changed, or the key is new
}

// Sample is the state of a map at one moment.
type Sample struct {
	Time    time.Time
	Elapsed time.Duration // since the sample before; 0 in the first
	Rows    []Row         // the top ones
	Keys    int           // keys in the map; with CPUs split, keys times CPUs
	Moving  int           // those of them that changed
	Hidden  int           // rows that are not among the top
	Rest    float64       // rate of the hidden rows, of the number sorted by
	Ignored int           // keys that are not watched, since there are too many
	Report  Report
}

// WatchOptions say what a Watcher shows.
type WatchOptions struct {
	Top   int    // rows; 0 is all
	Split bool   // a row for each CPU
	By    string // name of the number to sort by; empty is the first
}

// Watcher takes samples of a map and tells how values changed between them. It has
// no clock and is for one goroutine.
type Watcher struct {
	m       *Map
	o       WatchOptions
	max     int
	before  map[string][]byte
	at      time.Time
	sure    bool // before holds every key there was
	numbers map[btf.Type][]Number
	sums    map[btf.Type]*Summer
}

// NewWatcher returns a Watcher of m, which stays the caller's. An error is a
// *UsageError: the values have no number called o.By, or the map cannot be read.
func NewWatcher(m *Map, o WatchOptions) (*Watcher, error) {
	if m.kind.dump != "" || m.kind.keyless {
		why := m.kind.dump
		if why == "" {
			why = "its entries have no keys"
		}
		return nil, usagef("%s is a %s and cannot be watched: %s", m.title(), m.kind.name, why)
	}
	w := newWatcher(m, o)
	if o.By == "" {
		return w, nil
	}
	var names []string
	for _, n := range w.numbersOf(m.val, int(m.info.ValueSize)) {
		names = append(names, n.Name)
	}
	if !slices.Contains(names, o.By) {
		return nil, usagef("values of %s have no number called %q: there are %q", m.title(), o.By, names)
	}
	return w, nil
}

func newWatcher(m *Map, o WatchOptions) *Watcher {
	return &Watcher{
		m: m, o: o, max: MaxWatched, sure: true,
		numbers: map[btf.Type][]Number{}, sums: map[btf.Type]*Summer{},
	}
}

// numbersOf is [Numbers], once for each type. A value of unknown type that is as
// long as a counter is taken for one.
func (w *Watcher) numbersOf(t btf.Type, size int) []Number {
	if t == nil && (size == 4 || size == 8) {
		return []Number{{Name: "value", Size: size}}
	}
	n, ok := w.numbers[t]
	if !ok {
		n = Numbers(t)
		w.numbers[t] = n
	}
	return n
}

// Sample reads the map and compares it with the sample before. now is the time of
// reading.
func (w *Watcher) Sample(ctx context.Context, now time.Time) (*Sample, error) {
	s := &Sample{Time: now}
	if w.before != nil {
		s.Elapsed = now.Sub(w.at)
	}
	after := make(map[string][]byte, len(w.before))
	var err error
	s.Report, err = w.m.Dump(ctx, func(e *Entry) error {
		w.entry(s, after, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	w.sure = !s.Report.Changed && s.Ignored == 0
	w.before, w.at = after, now
	w.cut(s)
	return s, nil
}

// summer is [NewSummer], once for each type.
func (w *Watcher) summer(t btf.Type) *Summer {
	sum, ok := w.sums[t]
	if !ok {
		sum = NewSummer(t)
		w.sums[t] = sum
	}
	return sum
}

// entry takes one entry, as one row or one for each CPU.
func (w *Watcher) entry(s *Sample, after map[string][]byte, e *Entry) {
	sum := w.summer(e.ValueType)
	if len(e.Values) == 1 || !w.o.Split && sum.Sums() {
		w.row(s, after, e, sum.Sum(e.Values), -1)
		return
	}
	for cpu, v := range e.Values {
		w.row(s, after, e, v, cpu)
	}
}

func (w *Watcher) row(s *Sample, after map[string][]byte, e *Entry, value []byte, cpu int) {
	s.Keys++
	if len(after) >= w.max {
		s.Ignored++
		return
	}
	key := string(binary.NativeEndian.AppendUint32(bytes.Clone(e.Key), uint32(cpu+1)))
	value = bytes.Clone(value)
	if _, twice := after[key]; twice {
		s.Keys--
		return
	}
	after[key] = value
	r := Row{
		Key: []byte(key[:len(e.Key)]), KeyType: e.KeyType, Value: value, ValueType: e.ValueType, CPU: cpu,
		Numbers: w.numbersOf(e.ValueType, len(value)),
	}
	w.compare(&r, w.before[key], s.Elapsed)
	if r.Changed {
		s.Moving++
	}
	s.Rows = append(s.Rows, r)
	if limit := w.o.Top; limit > 0 && len(s.Rows) >= 2*limit+4096 {
		w.cut(s)
	}
}

// compare fills in what changed. A key that was not there before counts from 0, as
// long as it is sure that it was not there.
func (w *Watcher) compare(r *Row, old []byte, elapsed time.Duration) {
	if elapsed <= 0 || old == nil && !w.sure {
		return
	}
	r.Changed = !bytes.Equal(old, r.Value)
	r.Delta, r.Rate = make([]int64, len(r.Numbers)), make([]float64, len(r.Numbers))
	for i, n := range r.Numbers {
		r.Delta[i] = n.Of(r.Value) - n.Of(old) // wraps at 64 bits as the counter does
		if n.Size == 4 && !n.Signed {
			r.Delta[i] = wrapped32(r.Delta[i])
		}
		r.Rate[i] = float64(r.Delta[i]) / elapsed.Seconds()
	}
}

// wrapped32 is the change of a 32-bit counter, which starts again from 0: it is
// taken the shorter way round.
func wrapped32(delta int64) int64 { return int64(int32(delta)) }

// cut sorts the rows by rate, then by value, and keeps the top.
func (w *Watcher) cut(s *Sample) {
	slices.SortFunc(s.Rows, func(a, b Row) int {
		return cmp.Or(
			cmp.Compare(abs(w.rate(&b)), abs(w.rate(&a))), boolFirst(a.Changed, b.Changed),
			w.order(&b, &a), bytes.Compare(a.Key, b.Key), cmp.Compare(a.CPU, b.CPU),
		)
	})
	if w.o.Top <= 0 || len(s.Rows) <= w.o.Top {
		return
	}
	for i := range s.Rows[w.o.Top:] {
		s.Hidden++
		s.Rest += w.rate(&s.Rows[w.o.Top+i])
	}
	clear(s.Rows[w.o.Top:])
	s.Rows = s.Rows[:w.o.Top]
}

// sortBy returns the index of the number that rows are sorted by, -1 if r has none.
func (w *Watcher) sortBy(r *Row) int {
	for i, n := range r.Numbers {
		if w.o.By == "" || n.Name == w.o.By {
			return i
		}
	}
	return -1
}

func (w *Watcher) rate(r *Row) float64 {
	if i := w.sortBy(r); i >= 0 && r.Rate != nil {
		return r.Rate[i]
	}
	return 0
}

// order compares the numbers that rows are sorted by.
func (w *Watcher) order(a, b *Row) int {
	i, j := w.sortBy(a), w.sortBy(b)
	if i < 0 || j < 0 {
		return cmp.Compare(i, j)
	}
	return order(a.Numbers[i].Of(a.Value), b.Numbers[j].Of(b.Value), a.Numbers[i].Signed)
}

// order compares two numbers as [Number.Of] gives them.
func order(a, b int64, signed bool) int {
	if signed {
		return cmp.Compare(a, b)
	}
	return cmp.Compare(uint64(a), uint64(b))
}

func abs(x float64) float64 { return max(x, -x) }

func boolFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
