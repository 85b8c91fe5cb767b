package top

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/view/table"
)

var update = flag.Bool("update", false, "rewrite testdata from what is drawn")

func at(seconds int) time.Time { return time.Date(2026, 3, 14, 3, 0, seconds, 0, time.UTC) }

// second is what one second of a host brings: flows flows, and something of every
// other kind, of names that would steer a terminal.
func second(n, flows int) *record.Batch {
	b := &record.Batch{Start: at(n), End: at(n + 1)}
	ends := record.Endpoints{
		Time: b.End, Host: "web1", NetNS: 7, NetNSName: "app", IfName: "eth0", Proto: "tcp", SrcAddr: netip.MustParseAddr("10.0.0.5"), SrcPort: 40000,
		DstAddr: netip.MustParseAddr("10.0.0.9"), DstPort: 443, Owner: record.Owner{PID: 77, Comm: "evil\x1b[2J\u202e"},
	}
	for i := range flows {
		f := record.Flow{Endpoints: ends, Start: b.Start, End: b.End, Direction: record.Out, PacketsIn: 10, BytesIn: 1000, PacketsOut: 10, BytesOut: 5000, HostPackets: 20, HostBytes: 6000}
		f.SrcAddr, f.DstPort = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(i%1000)
		f.PID = uint32(i % 100)
		b.Flows = append(b.Flows, f)
	}
	for i, v := range record.Verdicts() {
		b.Drops = append(b.Drops, record.Drop{
			Endpoints: ends, Verdict: v, Reason: strings.ToUpper(string(v)) + "_REASON\x1b]0;x\a", Location: "place+0x1", Packets: uint64(i + 1), Bytes: 100, Direction: record.In,
		})
	}
	b.Conns = []record.Conn{
		{Endpoints: ends, Event: record.ConnOpen, State: "established", Start: b.Start, RTTMicros: 900},
		{Endpoints: ends, Event: record.ConnFailed, Error: "refused", Start: b.Start, ConnectMicros: 85},
		{Endpoints: ends, Event: record.ConnListens, State: "listen", Backlog: 1, BacklogMax: 2},
	}
	b.Requests = []record.Request{{Endpoints: ends, Start: b.Start, Protocol: "http/1.1", Method: "GET", HostName: "h\x1b[31m", Path: "/p", Status: 500, LatencyMicros: 9}}
	b.Queries = []record.Query{{Endpoints: ends, Protocol: "dns", QName: "q\x1b[31m.example.com", QType: "A", RCode: "SERVFAIL", LatencyMicros: 9, Server: "10.0.0.53"}}
	for _, e := range []record.Entry{
		{Station: "ip", Layer: record.RoutingLayer, Line: record.Came, Packets: 100},
		{Station: "ip", Layer: record.NetfilterLayer, Line: record.LostLine, What: "NETFILTER_DROP", Packets: 30, Verdict: record.Policy},
		{Station: "total", Layer: record.TotalLayer, Line: record.Came, Packets: 100},
		{Station: "total", Layer: record.NetfilterLayer, Line: record.LostLine, What: "NETFILTER_DROP", Packets: 30, Verdict: record.Policy},
		{Station: "total", Layer: record.TotalLayer, Line: record.Delivered, What: "tcp", Packets: 70},
	} {
		e.Time, e.Start, e.Host, e.Scope, e.NetNS, e.NetNSName, e.Direction, e.Unit = b.End, b.Start, "web1", record.NetNSScope, 7, "app\x1b[31m", record.In, "buffers"
		b.Ledger = append(b.Ledger, e)
	}
	b.Lost = []record.Lost{{Time: b.End, Place: "drop_ring", Reason: "full", Count: 12, Effect: "single events are missing; the counts are exact"}}
	return b
}

// screen is a model of a size that has seen n seconds.
func screen(t *testing.T, width, height, n int) *model {
	t.Helper()
	m := newModel(t.Context(), Config{Table: table.Options{Unicode: true}}, newPace())
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	for i := range n {
		m.Update(batchMsg{second(i, 20)})
	}
	return m
}

// press presses keys: a name in angle brackets, or a letter.
func press(m *model, keys ...string) {
	special := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "space": ' ', "down": tea.KeyDown, "up": tea.KeyUp}
	for _, k := range keys {
		msg := tea.KeyPressMsg{Code: []rune(k)[0], Text: k}
		if code, ok := special[k]; ok {
			msg = tea.KeyPressMsg{Code: code}
		}
		m.Update(msg)
	}
}

func text(m *model) string { return ansi.Strip(strings.Join(m.draw(), "\n")) }

// Every view, drawn at two sizes, has the lines and columns of the screen, and
// nothing in it steers the terminal but our own attributes.
func TestEachViewFits(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {160, 50}, {40, 12}, {10, 4}, {1, 1}} {
		for _, n := range []int{0, 2} {
			m := screen(t, size[0], size[1], n)
			for at, s := range m.tabs {
				m.at = at
				for v := range s.places {
					s.view = v
					m.refresh()
					fits(t, m, fmt.Sprintf("%v %s/%s", size, m.data.tabs[at].name, m.view().name))
					press(m, "enter")
					fits(t, m, fmt.Sprintf("%v %s/%s, a row", size, m.data.tabs[at].name, m.view().name))
					press(m, "esc")
				}
			}
			for _, k := range []string{"h", "l"} {
				press(m, k)
				fits(t, m, k)
				press(m, "esc")
			}
		}
	}
}

// ours are the only escapes that are drawn without colours.
var ours = strings.NewReplacer("\x1b[7m", "", "\x1b[27m", "", "\x1b[1m", "", "\x1b[22m", "", "\x1b[2m", "")

func fits(t *testing.T, m *model, what string) {
	t.Helper()
	lines := m.draw()
	if len(lines) != m.height {
		t.Errorf("%s: got %d lines, want %d", what, len(lines), m.height)
	}
	for _, line := range lines {
		if w := ansi.StringWidth(line); w > m.width {
			t.Errorf("%s: got %d columns, want %d at most: %q", what, w, m.width, line)
		}
		if plain := ours.Replace(line); strings.ContainsAny(plain, "\x1b\a\u202e") {
			t.Errorf("%s: %q steers the terminal", what, line)
		}
	}
}

// The views as they are drawn, from the same seconds.
func TestViews(t *testing.T) {
	m := screen(t, 80, 24, 3)
	var out strings.Builder
	for at, s := range m.tabs {
		m.at = at
		for v := range s.places {
			s.view = v
			m.refresh()
			fmt.Fprintf(&out, "%s\n%s\n", strings.Repeat("=", 80), text(m))
		}
	}
	lines := strings.Split(out.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	got := strings.Join(lines, "\n")
	path := filepath.Join("testdata", "views.txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run go test -update", err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Frozen, every tab stays as it was, and can be sorted and searched; then
// everything that was counted meanwhile is there.
func TestFreeze(t *testing.T) {
	m := screen(t, 100, 30, 1)
	press(m, "2", "space")
	before := text(m)
	if !strings.Contains(before, "FROZEN") {
		t.Fatalf("it does not say so:\n%s", before)
	}
	m.Update(batchMsg{second(1, 20)})
	if d := cmp.Diff(before, text(m)); d != "" {
		t.Errorf("a frozen screen changed (-before +after):\n%s", d)
	}
	for _, tab := range []string{"1", "3", "7"} {
		press(m, tab)
		if got := text(m); !strings.Contains(got, "03:00:01 UTC") || strings.Contains(got, "03:00:02 UTC") {
			t.Errorf("tab %s is not of when it was frozen:\n%s", tab, got)
		}
	}
	press(m, "2", "s", "/", "r", "e", "s", "enter")
	if got := text(m); !strings.Contains(got, "03:00:01 UTC") || !strings.Contains(got, "row 1 of 1") || !strings.Contains(got, "resource        2 ") {
		t.Errorf("sorted and searched, it is not of when it was frozen:\n%s", got)
	}
	press(m, "esc", "space")
	if got := text(m); strings.Contains(got, "FROZEN") || !strings.Contains(got, "03:00:02 UTC") || !strings.Contains(got, "resource        4 ") {
		t.Errorf("what was counted meanwhile is missing:\n%s", got)
	}
}

// The cursor stays at its row when rows move, and at the top when it is there.
func TestCursorFollows(t *testing.T) {
	m := screen(t, 100, 30, 1)
	press(m, "2", "down")
	was, _ := m.place().row(m.place().cursor)
	press(m, "s", "s", "r")
	if is, _ := m.place().row(m.place().cursor); is.Key != was.Key {
		t.Errorf("sorted otherwise, the cursor is at another row")
	}
	before := m.place().cursor
	press(m, "r")
	if is, _ := m.place().row(m.place().cursor); is.Key != was.Key || m.place().cursor == before {
		t.Errorf("turned round, the cursor did not follow")
	}
	press(m, "up", "up", "up", "up", "up", "r")
	if m.place().cursor != 0 {
		t.Errorf("got row %d, want the top to stay the top", m.place().cursor)
	}
}

// What is asked of a loss is answered when the host has answered, and never makes
// the screen wait.
func TestExplainComesLater(t *testing.T) {
	m := screen(t, 80, 24, 1)
	m.cfg.Explain = func(_ context.Context, d *record.Drop, width int, _ bool) string {
		return fmt.Sprintf("it is %s, in %d columns", d.Verdict, width)
	}
	press(m, "2")
	_, cmd := m.Update(tea.KeyPressMsg{Code: '?', Text: "?"})
	if got := text(m); cmd == nil || !strings.Contains(got, "asking this host") {
		t.Fatalf("nothing is asked:\n%s", got)
	}
	m.Update(batchMsg{second(1, 1)})
	m.Update(cmd())
	if got := text(m); !strings.Contains(got, "it is loss, in 79 columns") {
		t.Errorf("the answer is missing:\n%s", got)
	}
	press(m, "esc", "3", "?")
	if got := text(m); !strings.Contains(got, "the tabs; also Tab") {
		t.Errorf("a flow is no loss: got\n%s\nwant help", got)
	}
}

// A light background has no yellow.
func TestLightBackground(t *testing.T) {
	m := newModel(t.Context(), Config{Table: table.Options{Unicode: true, Colour: true}}, newPace())
	m.Update(batchMsg{second(0, 1)})
	press(m, "2")
	if got := strings.Join(m.draw(), "\n"); !strings.Contains(got, "\x1b[33mpolicy") {
		t.Errorf("on a dark background: got no yellow policy in %q", got)
	}
	m.light = true
	if got := strings.Join(m.draw(), "\n"); strings.Contains(got, "\x1b[33m") || !strings.Contains(got, "\x1b[38;5;130mpolicy") {
		t.Errorf("on a light background: got %q, want brown", got)
	}
}

// The sums of 100,000 flows, in every grouping, and the screen stay within bounds.
func TestMemoryIsBounded(t *testing.T) {
	m := newModel(t.Context(), Config{Table: table.Options{Unicode: true}}, newPace())
	m.Update(tea.WindowSizeMsg{Width: 160, Height: 50})
	press(m, "3")
	before := heap()
	m.Update(batchMsg{second(0, 100_000)})
	press(m, "space", "space") // sheets of every tab
	got := heap() - before
	t.Logf("%d MB on the heap", got>>20)
	if got > 60<<20 {
		t.Errorf("got %d MB on the heap, want at most 60", got>>20)
	}
	if got := text(m); !strings.Contains(got, "of 10000 ") && !strings.Contains(got, "of 10001 ") {
		t.Errorf("got\n%s\nwant 10,000 rows and the rest as other", got)
	}
	if got := text(m); !strings.Contains(got, "2.0M packets") { // 100,000 × 20
		t.Errorf("the sums are not exact:\n%s", got)
	}
	runtime.KeepAlive(m)
}

func heap() int64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// A recording is held back as the keys want.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace()
		ctx, cancel := context.WithCancel(t.Context())
		next := func() error { return p.next(ctx, time.Minute) }
		for range 3 {
			if err := next(); err != nil { // whole, at first
				t.Fatal(err)
			}
		}
		p.give(orderRewind)
		if err := next(); !errors.Is(err, errAgain) {
			t.Fatalf("got %v, want to begin anew", err)
		}
		if err := next(); err != nil { // the first interval is shown
			t.Fatal(err)
		}
		passed := make(chan error)
		passes := func() {
			t.Helper()
			if err := <-passed; err != nil {
				t.Fatal(err)
			}
		}
		go func() {
			for {
				err := next()
				passed <- err
				if err != nil {
					return
				}
			}
		}()
		waits := func(when string) {
			t.Helper()
			synctest.Wait()
			select {
			case err := <-passed:
				t.Errorf("%s: went on (%v)", when, err)
			default:
			}
		}
		waits("stopped")
		p.give(orderStep)
		passes()
		waits("after a step")
		p.give(orderPlay)
		began := time.Now()
		passes()
		passes()
		if d := time.Since(began); d != 2*time.Minute {
			t.Errorf("got two minutes in %v", d)
		}
		p.give(orderPause)
		waits("stopped again")
		cancel()
		if err := <-passed; err == nil {
			t.Error("it goes on after its end")
		}
		if p.again(ctx) {
			t.Error("it begins anew after its end")
		}
	})
}

// Cells are shared out so that each list has at least a row, while there is room.
func TestShare(t *testing.T) {
	for _, c := range []struct {
		height, bars, losses, flows int
		want                        overview
	}{
		{24, 0, 0, 0, overview{0, 1, 1}},
		{24, 8, 3, 100, overview{6, 3, 7}},
		{24, 8, 100, 100, overview{6, 5, 5}},
		{24, 0, 100, 2, overview{0, 14, 2}},
		{50, 8, 100, 100, overview{8, 17, 17}},
		{6, 8, 100, 100, overview{0, 0, 0}},
	} {
		if got := share(c.height, c.bars, c.losses, c.flows); got != c.want {
			t.Errorf("share(%d, %d, %d, %d): got %v, want %v", c.height, c.bars, c.losses, c.flows, got, c.want)
		}
	}
}

// What is more than nothing never looks like nothing.
func TestSpark(t *testing.T) {
	var s spark
	for _, x := range []float64{0, 1, 500, 1000} {
		s.add(x)
	}
	if got := s.line(6, true); got != " ▁▄█  " {
		t.Errorf("got %q", got)
	}
	if got := s.line(3, false); got != ".-#" {
		t.Errorf("got %q", got)
	}
	for range 2 * sparkLen {
		s.add(1)
	}
	if len(s.values) != sparkLen {
		t.Errorf("got %d values, want %d", len(s.values), sparkLen)
	}
}
