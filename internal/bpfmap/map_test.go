package bpfmap

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/need"
)

func TestSetGetDumpDelete(t *testing.T) {
	l := newLab(t)
	const flow, count = `{"saddr":"10.0.0.1","port":80,"zone":1}`, `{"packets":3,"bytes":300,"sizes":[1,2],"comm":"nginx"}`
	const shown = `{saddr=10.0.0.1 port=80 zone=1}: {packets=3 bytes=300 sizes=[1 2] comm="nginx"}`
	for _, c := range []struct {
		name, key, value string
		get              string
		all              []string
	}{
		{"flows", flow, count, shown, []string{shown}},
		{"cpu_flows", flow, count, shown, []string{shown}},
		{"slots", "2", "18446744073709551615", "2: 18446744073709551615", []string{"0: 0", "1: 0", "2: 18446744073709551615", "3: 0"}},
		{"cpu_slots", "1", "5", "1: 5", []string{"0: 0", "1: 5"}},
		{"recent", "0x10", "-4", "16: -4", []string{"16: -4"}},
		{"routes", "10.0.0.0/8", "7", "{prefixlen=8 addr=10.0.0.0}: 7", []string{"{prefixlen=8 addr=10.0.0.0}: 7"}},
		{"routes", `{"prefixlen":16,"addr":"10.1.0.0"}`, "8", "{prefixlen=16 addr=10.1.0.0}: 8", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := l.open(t, c.name)
			must(t, m.Set(c.key, c.value, false))
			e, err := m.Get(c.key)
			must(t, err)
			if got := text(e, false); got != c.get {
				t.Errorf("get: got %s, want %s", got, c.get)
			}
			if got := dumped(t, m); c.all != nil && !cmp.Equal(got, c.all) {
				t.Errorf("dump: got %q, want %q", got, c.all)
			}
			err = m.Delete(c.key)
			if strings.HasSuffix(c.name, "slots") {
				wantUsage(t, err, "always there")
				return
			}
			must(t, err)
			if _, err := m.Get(c.key); !errors.Is(err, ErrNotFound) {
				t.Errorf("get after delete: got %v, want ErrNotFound", err)
			}
			if err := m.Delete(c.key); !errors.Is(err, ErrNotFound) {
				t.Errorf("delete again: got %v, want ErrNotFound", err)
			}
		})
	}
}

func wantUsage(t *testing.T, err error, text string) {
	t.Helper()
	var usage *UsageError
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want a UsageError with %q", err, text)
	}
}

func TestPerCPU(t *testing.T) {
	l := newLab(t)
	m := l.open(t, "cpu_slots")
	must(t, m.Set("0", "5", true))
	e, err := m.Get("0")
	must(t, err)
	if len(e.Values) != ebpf.MustPossibleCPU() {
		t.Fatalf("got %d values, want one for each CPU", len(e.Values))
	}
	want := "0: " + strings.TrimSuffix(strings.Repeat("5 | ", len(e.Values)), " | ")
	if got := text(e, true); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := text(e, false), fmt.Sprintf("0: %d", 5*len(e.Values)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestQueue(t *testing.T) {
	m := newLab(t).open(t, "waiting")
	if got := dumped(t, m); got != nil {
		t.Errorf("got %q of an empty queue", got)
	}
	must(t, m.Set("", "11", false))
	must(t, m.Set("", "12", false))
	report, err := m.Dump(t.Context(), func(e *Entry) error {
		if got := text(e, false); got != "0x: 0x0b000000" { // the kernel takes no types of queues
			t.Errorf("got %s, want 11", got)
		}
		return nil
	})
	must(t, err)
	if report.Entries != 1 || !strings.Contains(report.Note, "taken next") {
		t.Errorf("got %+v, want one entry and a note", report)
	}
	wantUsage(t, m.Delete("1"), "reading them")
}

func TestBloomFilter(t *testing.T) {
	l := newLab(t)
	if l.bloom != nil {
		need.Feature{What: "bloom filters", Since: "5.16"}.Skip(t, l.bloom)
	}
	m := l.open(t, "seen")
	must(t, m.Set("", "5", false))
	_, err := m.Get("5")
	must(t, err)
	if _, err := m.Get("6"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	_, err = m.Dump(t.Context(), nil)
	wantUsage(t, err, "cannot list")
}

func TestChannelsCannotBeRead(t *testing.T) {
	m := newLab(t).open(t, "events")
	_, err := m.Dump(t.Context(), nil)
	wantUsage(t, err, "netfate run")
	_, err = m.Get("1")
	wantUsage(t, err, "netfate run")
	wantUsage(t, m.Set("1", "1", false), "netfate run")
	_, err = NewWatcher(m, WatchOptions{})
	wantUsage(t, err, "cannot be watched")
}

func TestMapsAndProgramsInMaps(t *testing.T) {
	l := newLab(t)
	outer := l.open(t, "outer")
	inner, err := ebpf.NewMap(&ebpf.MapSpec{Name: "inner_one", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	must(t, err)
	defer inner.Close()
	info, err := inner.Info()
	must(t, err)
	id, _ := info.ID()
	must(t, outer.Set("3", fmt.Sprint(id), false))
	want := []string{fmt.Sprintf(`0x03000000: {id=%d name="inner_one"}`, id)}
	if got := dumped(t, outer); !cmp.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "zero", Type: ebpf.SocketFilter, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	must(t, err)
	defer program.Close()
	path := filepath.Join(l.dir, "zero")
	must(t, program.Pin(path))
	tails := l.open(t, "tails")
	must(t, tails.Set("2", path, false))
	got := dumped(t, tails)
	if len(got) != 1 || !strings.HasPrefix(got[0], "2: {id=") || !strings.HasSuffix(got[0], ` name="zero"}`) {
		t.Errorf("got %q, want program zero in slot 2", got)
	}
	wantUsage(t, tails.Set("1", "nothing", false), "id of a program")
	must(t, tails.Delete("2"))
	if got := dumped(t, tails); got != nil {
		t.Errorf("got %q after delete", got)
	}
}

func TestGlobals(t *testing.T) {
	l := newLab(t)
	m := l.open(t, "bss")
	must(t, m.Set("my_pid", "42", false))
	must(t, m.Set("seen_count", "9", false))
	got := dumped(t, m)
	slices.Sort(got)
	if want := []string{`"my_pid": 42`, `"seen_count": 9`}; !cmp.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	e, err := m.Get("my_pid")
	must(t, err)
	if got, want := text(e, false), `"my_pid": 42`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	_, err = m.Get("my_pit")
	wantUsage(t, err, "my_pid")
	ro := l.open(t, "rodata")
	if got, want := dumped(t, ro), []string{`"limit": 7`}; !cmp.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := ro.Set("limit", "8", false); err == nil || !strings.Contains(err.Error(), "frozen") {
		t.Errorf("got %v, want a word about the frozen map", err)
	}
}

func TestReadOnlyForUsers(t *testing.T) {
	need.Root(t)
	raw, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1, Flags: unix.BPF_F_RDONLY})
	must(t, err)
	m, err := New(raw)
	must(t, err)
	defer m.Close()
	if err := m.Set("0", "1", false); err == nil || !strings.Contains(err.Error(), "allows reading only") {
		t.Errorf("got %v, want a word about reading only", err)
	}
	if got, want := dumped(t, m), []string{"0: 0x00000000"}; !cmp.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDumpSorted(t *testing.T) {
	m := newLab(t).open(t, "recent")
	for key, value := range map[string]string{"1": "5", "2": "-7", "3": "100", "4": "0"} {
		must(t, m.Set(key, value, false))
	}
	for top, want := range map[int][]string{0: {"3: 100", "1: 5", "4: 0", "2: -7"}, 2: {"3: 100", "1: 5"}} {
		var got []string
		report, err := m.DumpSorted(t.Context(), top, func(e *Entry) error {
			got = append(got, text(e, false))
			return nil
		})
		must(t, err)
		if !cmp.Equal(got, want) || report.Entries != 4 {
			t.Errorf("top %d: got %q of %d, want %q of 4", top, got, report.Entries, want)
		}
	}
}

func TestWrongText(t *testing.T) {
	l := newLab(t)
	m := l.open(t, "flows")
	_, err := m.Get("elephant")
	wantUsage(t, err, "struct flow {saddr, port, zone}, 8 bytes")
	wantUsage(t, l.open(t, "recent").Set("1", "elephant", false), "of type int")
	wantUsage(t, l.open(t, "slots").Delete("x"), "array")
	err = l.open(t, "slots").Set("4", "1", false)
	if err == nil || !strings.Contains(err.Error(), "at most 4 entries") {
		t.Errorf("got %v, want a word about 4 entries", err)
	}
}

func TestOpen(t *testing.T) {
	l := newLab(t)
	byPath := l.open(t, "flows")
	for _, what := range []string{fmt.Sprint(byPath.Info().ID), "waiting", "flows", "rodata"} {
		m, err := Open(what)
		if err != nil {
			// Other tests of this host may have maps of these names.
			wantUsage(t, err, "ambiguous")
			continue
		}
		if len(m.Info().Pins) == 0 && what != fmt.Sprint(byPath.Info().ID) {
			t.Errorf("%s: got no pins", what)
		}
		must(t, m.Close())
	}
	for _, what := range []string{"no_such_map_at_all", "4294967295", l.dir + "/nothing", ""} {
		if _, err := Open(what); !errors.Is(err, ErrNotFound) {
			t.Errorf("open %q: got %v, want ErrNotFound", what, err)
		}
	}
	_, err := Open("/etc/passwd")
	wantUsage(t, err, "not a pinned map")
	_, err = Open(l.dir)
	wantUsage(t, err, "is a directory")
	// Names are cut by the kernel; a second map of the name makes it ambiguous.
	spec := &ebpf.MapSpec{Name: "netfate_bpfmap_", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	one, err := ebpf.NewMap(spec)
	must(t, err)
	defer one.Close()
	m, err := Open("netfate_bpfmap_test_of_names")
	must(t, err)
	must(t, m.Close())
	two, err := ebpf.NewMap(spec)
	must(t, err)
	defer two.Close()
	must(t, two.Pin(filepath.Join(l.dir, "second")))
	_, err = Open("netfate_bpfmap_")
	wantUsage(t, err, filepath.Join(l.dir, "second"))
	wantUsage(t, err, "not pinned")
}

func TestUntyped(t *testing.T) {
	need.Root(t)
	raw, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 12, MaxEntries: 4})
	must(t, err)
	m, err := New(raw)
	must(t, err)
	defer m.Close()
	must(t, m.Set("1", "0x0102030405060708090a0b0c", false))
	must(t, m.Set("ff 00 00 00", "00 00 00 00 00 00 00 00 00 00 00 01", false))
	got := dumped(t, m)
	slices.Sort(got)
	want := []string{"0x01000000: 0x0102030405060708090a0b0c", "0xff000000: 0x000000000000000000000001"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	wantUsage(t, m.Set("1", "5", false), "24 hex digits")
	_, err = m.Get("0x01")
	wantUsage(t, err, "4 bytes of unknown type")
}

// TestConcurrentChange reads maps that change all the time: what stays in is read
// exactly once in batches, and a dump always ends.
func TestConcurrentChange(t *testing.T) {
	need.Root(t)
	const stay, most = 20_000, 40_000
	for _, c := range []struct {
		name    string
		batched bool
	}{{"batches", true}, {"keys", false}} {
		t.Run(c.name, func(t *testing.T) {
			raw, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: most})
			must(t, err)
			m, err := New(raw)
			must(t, err)
			defer m.Close()
			fill(t, raw, stay)
			ctx, cancel := context.WithCancel(t.Context())
			changed := make(chan error)
			started := make(chan struct{})
			go func() { changed <- churn(ctx, raw, stay, most, started) }()
			<-started
			for range 3 {
				seen := map[string]int{}
				d := &dump{m: m, ctx: t.Context()}
				d.entry.Values = make([][]byte, 1)
				d.each = func(e *Entry) error { seen[string(e.Key)]++; return nil }
				if c.batched {
					_, err = d.batches()
				} else {
					err = d.keys()
				}
				must(t, err)
				once := 0
				for k, n := range seen {
					if k[3] == 0 && n == 1 {
						once++
					}
				}
				if (c.batched || !d.report.Changed) && once != stay {
					t.Errorf("got %d of %d keys exactly once, changed %v", once, stay, d.report.Changed)
				}
			}
			cancel()
			must(t, <-changed)
		})
	}
}

// fill puts keys 0 to n in, in batches, with their numbers as values.
func fill(t testing.TB, m *ebpf.Map, n int) {
	t.Helper()
	keys, values := make([]uint32, n), make([]uint64, n)
	for i := range n {
		keys[i], values[i] = uint32(i), uint64(i)
	}
	if _, err := m.BatchUpdate(keys, values, nil); err != nil {
		t.Fatal(err)
	}
}

// churn adds and deletes keys, marked in their last byte, until ctx ends.
func churn(ctx context.Context, m *ebpf.Map, from, to int, started chan<- struct{}) error {
	for n := 0; ctx.Err() == nil; n++ {
		key := uint32(from+n%(to-from)) | 1<<24
		if err := m.Put(key, uint64(n)); err != nil {
			return err
		}
		if err := m.Delete(key); err != nil {
			return err
		}
		if n == 100 {
			close(started)
		}
	}
	return nil
}

// TestGrowingBatch reads a map whose only bucket holds more than a batch.
func TestGrowingBatch(t *testing.T) {
	need.Root(t)
	raw, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 4096, MaxEntries: 4096})
	must(t, err)
	m, err := New(raw)
	must(t, err)
	defer m.Close()
	var value [4096]byte
	for i := range uint32(4096) {
		must(t, raw.Put(i, value))
	}
	report, err := m.Dump(t.Context(), func(*Entry) error { return nil })
	must(t, err)
	if want := (Report{Entries: 4096, Batched: true}); report != want {
		t.Errorf("got %+v, want %+v", report, want)
	}
}

func TestStop(t *testing.T) {
	m := newLab(t).open(t, "slots")
	n := 0
	_, err := m.Dump(t.Context(), func(*Entry) error { n++; return ErrStop })
	if err != nil || n != 1 {
		t.Errorf("got %d entries and %v, want one and no error", n, err)
	}
	broken := errors.New("broken pipe")
	if _, err := m.Dump(t.Context(), func(*Entry) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v, want the callback's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Dump(ctx, func(*Entry) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

func TestWatch(t *testing.T) {
	m := newLab(t).open(t, "flows")
	key := func(i int) string { return fmt.Sprintf(`{"saddr":"10.0.0.%d","port":80,"zone":0}`, i) }
	set := func(i, packets int) {
		t.Helper()
		must(t, m.Set(key(i), fmt.Sprintf(`{"packets":%d,"bytes":%d,"sizes":[0,0],"comm":""}`, packets, packets*100), false))
	}
	set(1, 10)
	set(2, 20)
	w, err := NewWatcher(m, WatchOptions{Top: 2, By: "bytes"})
	must(t, err)
	start := time.Unix(1000, 0)
	s, err := w.Sample(t.Context(), start)
	must(t, err)
	if s.Rows[0].Rate != nil || s.Keys != 2 {
		t.Errorf("got %+v, want two keys without rates", s)
	}
	set(1, 30) // 10 a second
	set(3, 50) // new: 25 a second
	set(4, 2)  // new: 1 a second, hidden
	s, err = w.Sample(t.Context(), start.Add(2*time.Second))
	must(t, err)
	if s.Keys != 4 || s.Moving != 3 || s.Hidden != 2 || s.Rest != 100 {
		t.Errorf("got keys %d, moving %d, hidden %d, rest %v, want 4, 3, 2, 100", s.Keys, s.Moving, s.Hidden, s.Rest)
	}
	if got, want := s.Rows[0].Rate, []float64{25, 2500}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := s.Rows[1].Delta, []int64{20, 2000}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	_, err = NewWatcher(m, WatchOptions{By: "pakets"})
	wantUsage(t, err, "packets")
}

func TestList(t *testing.T) {
	l := newLab(t)
	all, err := List()
	must(t, err)
	at := slices.IndexFunc(all, func(i Info) bool { return slices.Contains(i.Pins, filepath.Join(l.dir, "routes")) })
	if at < 0 {
		t.Fatal("routes is not listed with its pin")
	}
	got := all[at]
	if got.Type != "lpm_trie" || got.Name != "routes" || got.KeySize != 8 || got.ValueSize != 4 || got.MaxEntries != 100 {
		t.Errorf("got %+v", got)
	}
}
