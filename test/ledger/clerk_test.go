package ledger

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// clerk keeps the lines of the ledger that the agent makes meanwhile.
type clerk struct {
	mu      sync.Mutex
	batches int
	lines   []record.Entry
	lost    []record.Lost
	losses  []loss // of the last network that was watched
}

// loss is a line that lost packets, in a namespace of the lab's name.
type loss struct {
	space string
	record.Entry
}

func (c *clerk) Batch(b *record.Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batches++
	c.lines = append(c.lines, b.Ledger...)
	c.lost = append(c.lost, b.Lost...)
	return nil
}

func (c *clerk) Close() error { return nil }

func (c *clerk) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.batches
}

// open runs the agent until the test ends; drops says whether the drop sensor is
// on. One agent serves all cases: loading its programs is what takes longest.
func open(t testing.TB, drops bool) *clerk {
	t.Helper()
	need.Root(t)
	c := &clerk{}
	ctx, stop := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		cfg := agent.Config{Ledger: true, Flows: true, Drops: drops, Interval: 400 * time.Millisecond}
		done <- agent.Run(ctx, cfg, []agent.Output{{Name: "the clerk", Sink: c}}, func([]string) { close(ready) })
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("agent: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		t.Fatalf("agent: %v", err)
	}
	return c
}

// pass waits until so many intervals are over.
func (c *clerk) pass(t testing.TB, intervals int) {
	until := c.count() + intervals
	netlab.WaitFor(t, "the ledger", func() bool { return c.count() >= until })
}

// books are the lines of the namespaces of one lab, added up.
type books map[string]int64

func key(space, scope, direction, station, line, what string) string {
	return strings.Join([]string{space, scope, direction, station, line, what}, "/")
}

// get returns a line of a namespace: of its interfaces if the station is theirs.
func (b books) get(space string, direction record.Direction, station string, line record.Line, what string) int64 {
	scope := "netns"
	if station == "device" {
		scope = "interface"
	}
	return b[key(space, scope, string(direction), station, string(line), what)]
}

// watched builds a network, watches what step does in it, and returns the books.
// A host that is too slow to read all counters is told of by the ledger; it gets
// another try.
func (c *clerk) watched(t *testing.T, build func(l *netlab.Lab) func()) books {
	t.Helper()
	const tries = 4
	for range tries {
		sums, gaps := c.watch(t, build)
		if len(gaps) == 0 {
			return sums
		}
		t.Logf("once more, since not all was read: %+v", gaps)
	}
	t.Fatalf("the counters could not be read at one time %d times", tries)
	return nil
}

// watch is one try, with what the ledger could not read meanwhile.
func (c *clerk) watch(t *testing.T, build func(l *netlab.Lab) func()) (sums books, gaps []record.Lost) {
	t.Helper()
	lab := netlab.New(t)
	step := build(lab)
	c.pass(t, 4) // both ends of an interval know the namespaces, and what building them sent is over
	c.mu.Lock()
	from, lost := len(c.lines), len(c.lost)
	c.mu.Unlock()
	step()
	c.pass(t, 3)
	c.mu.Lock()
	defer c.mu.Unlock()
	names := map[uint32]string{}
	for name, inode := range lab.Inodes() {
		names[inode] = name
	}
	for _, l := range c.lost[lost:] {
		if strings.HasPrefix(l.Place, "ledger_") {
			gaps = append(gaps, l)
		}
	}
	sums = books{}
	c.losses = nil
	for _, e := range c.lines[from:] {
		if name := names[e.NetNS]; name != "" {
			if e.Line == record.LostLine && e.Station != "total" && e.Packets > 0 {
				c.losses = append(c.losses, loss{name, e})
			}
			sums[key(name, string(e.Scope), string(e.Direction), e.Station, string(e.Line), e.What)] += e.Packets
		}
	}
	for _, l := range c.lost[lost:] {
		t.Logf("netfate lost %d at %s: %s", l.Count, l.Place, l.Reason)
	}
	if testing.Verbose() || t.Failed() {
		for _, e := range c.lines[from:] {
			if name := names[e.NetNS]; name != "" && e.Packets != 0 {
				t.Logf("%s %s %s %s %s %s %q %d [%s] %s | %s | %s", name, e.Scope, e.IfName, e.Direction, e.Station, e.Line, e.What, e.Packets, e.Counter, e.Fact, strings.Join(e.Evidence, "; "), e.Command)
			}
		}
	}
	return sums, gaps
}

// balanced fails for each remainder that is not zero.
func (b books) balanced(t *testing.T) {
	t.Helper()
	var off []string
	for k, n := range b {
		if strings.Contains(k, "/remainder/") && n != 0 {
			off = append(off, fmt.Sprintf("%s: %d", k, n))
		}
	}
	slices.Sort(off)
	for _, s := range off {
		t.Errorf("unexplained %s", s)
	}
}

// want fails if a line is not of the size given.
func (b books) want(t *testing.T, space string, direction record.Direction, station string, line record.Line, what string, n int64) {
	t.Helper()
	if got := b.get(space, direction, station, line, what); got != n {
		t.Errorf("%s, %s, %s: %s %s: got %d, want %d", space, direction, station, line, what, got, n)
	}
}

// proved fails unless a loss of the last network carries these words: among what
// was read of the host, and in the command.
func (c *clerk) proved(t *testing.T, space, what, command string, words ...string) {
	t.Helper()
	if testing.Short() {
		return // in a guest there may be no time to read all that within an interval
	}
	for i := range c.losses {
		l := &c.losses[i]
		if l.space != space || l.What != what {
			continue
		}
		text := l.Fact + "; " + strings.Join(l.Evidence, "; ")
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("%s, %s: got %q, want something on %q", space, what, text, w)
			}
		}
		if !strings.Contains(l.Command, command) || !strings.HasPrefix(l.Command, "nsenter --net=") {
			t.Errorf("%s, %s: got the command %q, want %q in the namespace", space, what, l.Command, command)
		}
		return
	}
	t.Errorf("%s: nothing lost as %s", space, what)
}
