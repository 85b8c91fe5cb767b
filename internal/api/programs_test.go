package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/inventory"
)

// host is BPF objects that change when somebody looks.
type host struct {
	looks int
	err   error
}

func (h *host) objects(context.Context) (Objects, error) {
	h.looks++
	n := uint64(h.looks)
	return Objects{
		Programs: []inventory.Program{
			{
				ID: 7, Kind: "xdp", Name: "guard", Loaded: noon(), Runs: 1000 * n, RunTime: time.Duration(n) * time.Millisecond, Maps: []uint32{3},
				Attached: []inventory.Attachment{{How: "link", Where: "eth0 xdp", Link: 5}}, Owners: []inventory.Owner{{PID: 42, Comm: "guardd"}},
			},
			{ID: 8, Kind: "tc", Name: "again", Loaded: noon().Add(time.Duration(n) * time.Minute), Runs: 10, RunTime: time.Microsecond, Pins: []string{"/sys/fs/bpf/x"}, Netfate: true},
		},
		Maps:    []inventory.Map{{ID: 3, Name: "seen", Type: "Hash", MaxEntries: 10, Programs: []uint32{7}}},
		Counted: true,
		Missed:  []string{"pins: permission denied"},
	}, h.err
}

// TestPrograms looks twice, 10 s apart, and once in between: rates are of the time
// between two looks, and of a program that came meanwhile of all that it ran.
func TestPrograms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{}
		s := newServer(t, func(c *Config) { c.Objects = h.objects })
		first := read[Programs](t, s, prefix+"/programs")
		p := first.Programs[0]
		if p.Name != "guard" || p.NS == nil || *p.NS != 1000 || p.Rate != nil || p.CPU != nil || first.Seconds != 0 || !first.Counted {
			t.Errorf("got %+v", first)
		}
		if diff := cmp.Diff(Held{Owners: []Holder{{42, "guardd"}}, Pins: []string{}}, p.Held); diff != "" || p.Attached[0].Where != "eth0 xdp" || p.Attached[0].Link != 5 {
			t.Errorf("got %+v, held (-want +got):\n%s", p, diff)
		}
		if m := first.Maps[0]; m.Name != "seen" || len(m.Programs) != 1 || m.Owners == nil || first.Missed[0] != "pins: permission denied" {
			t.Errorf("got %+v, missed %q", m, first.Missed)
		}
		time.Sleep(lookEvery - time.Millisecond)
		if again := read[Programs](t, s, prefix+"/programs"); h.looks != 1 || !again.Time.Equal(first.Time) {
			t.Errorf("got %d looks, of %v and %v, want to share one", h.looks, first.Time, again.Time)
		}
		time.Sleep(10*time.Second - lookEvery + time.Millisecond)
		second := read[Programs](t, s, prefix+"/programs")
		if p, q := second.Programs[0], second.Programs[1]; second.Seconds != 10 || *p.Rate != 100 || *p.CPU != 0.01 || *q.Rate != 1 {
			t.Errorf("got rates over %g s: %g and %g a second, %g %%; want 10 s, 100 and 1, 0.01 %%", second.Seconds, *p.Rate, *q.Rate, *p.CPU)
		}
	})
}

func TestProgramsRefused(t *testing.T) {
	h := &host{err: errors.New("list the BPF programs: this process lacks CAP_SYS_ADMIN")}
	s := newServer(t, func(c *Config) { c.Objects = h.objects })
	if w := request(s, http.MethodGet, prefix+"/programs", nil); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "CAP_SYS_ADMIN") {
		t.Errorf("got %d, %s; want why", w.Code, w.Body)
	}
}

func TestProgramsAreBounded(t *testing.T) {
	l := newLooker()
	l.take(Objects{Programs: make([]inventory.Program, maxObjects+1)}, noon())
	if len(l.last.Programs) != maxObjects || !l.last.Cut {
		t.Errorf("got %d programs, cut %v", len(l.last.Programs), l.last.Cut)
	}
}
