package agent

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/netfate/netfate/internal/record"
)

func TestSelectMatch(t *testing.T) {
	e := record.Endpoints{
		IfName: "eth0", NetNS: 4026531840,
		Owner: record.Owner{PID: 7, Comm: "nginx", Container: "0123456789ab", ContainerName: "web"},
	}
	f := func(s Select, want bool) {
		t.Helper()
		if got := s.Match(&e); got != want {
			t.Errorf("%+v: got %v, want %v", s, got, want)
		}
	}
	f(Select{}, true)
	f(Select{Interface: "eth0"}, true)
	f(Select{Interface: "eth"}, false)
	f(Select{NetNS: 4026531840}, true)
	f(Select{NetNS: 1}, false)
	f(Select{PID: 7}, true)
	f(Select{PID: 8}, false)
	f(Select{Comm: "nginx"}, true)
	f(Select{Comm: "ngin"}, false)
	f(Select{Container: "0123456789ab"}, true)
	f(Select{Container: "0123"}, true)
	f(Select{Container: "0123456789abcdef0123"}, true) // the whole id; records have 12 digits
	f(Select{Container: "web"}, true)
	f(Select{Container: "we"}, false)
	f(Select{Container: "123"}, false)
	f(Select{Interface: "eth0", PID: 7}, true)
	f(Select{Interface: "eth0", PID: 8}, false)

	e = record.Endpoints{}
	f(Select{}, true)
	f(Select{Container: "web"}, false)
	f(Select{Container: ""}, true)
	f(Select{PID: 7}, false)
}

// batchOf has one of each record of each interface, and a loss.
func batchOf(ifnames ...string) *record.Batch {
	b := &record.Batch{Lost: []record.Lost{{Place: "drops", Count: 3}}}
	for _, name := range ifnames {
		e := record.Endpoints{IfName: name}
		b.Drops = append(b.Drops, record.Drop{Endpoints: e})
		b.Samples = append(b.Samples, record.Drop{Endpoints: e, Sample: true})
		b.Flows = append(b.Flows, record.Flow{Endpoints: e})
		b.Conns = append(b.Conns, record.Conn{Endpoints: e})
		b.Requests = append(b.Requests, record.Request{Endpoints: e})
		b.Queries = append(b.Queries, record.Query{Endpoints: e})
	}
	return b
}

func TestSelectApply(t *testing.T) {
	b := batchOf("eth0", "lo", "eth0")
	frozen := batchOf("eth0", "lo", "eth0")
	for _, c := range []struct {
		sel  Select
		want *record.Batch
	}{
		{Select{}, b},
		{Select{Interface: "eth0"}, batchOf("eth0", "eth0")},
		{Select{Interface: "lo"}, batchOf("lo")},
		{Select{Interface: "none"}, batchOf()}, // the loss stays
	} {
		if diff := cmp.Diff(c.want, c.sel.apply(b), compareAddrs()); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.sel, diff)
		}
	}
	if diff := cmp.Diff(frozen, b, compareAddrs()); diff != "" {
		t.Errorf("apply changed a frozen batch (-before +after):\n%s", diff)
	}
}

func compareAddrs() cmp.Option {
	return cmpopts.EquateComparable(record.Endpoints{}.SrcAddr)
}

// tape is a recording.
type tape struct {
	batches []*record.Batch
	end     error
}

func (t *tape) Next() (*record.Batch, error) {
	if len(t.batches) == 0 {
		return nil, t.end
	}
	b := t.batches[0]
	t.batches = t.batches[1:]
	return b, nil
}

func TestReplay(t *testing.T) {
	one, two := &tally{}, &tally{}
	from := &tape{[]*record.Batch{batchOf("eth0"), batchOf("lo", "eth0"), batchOf("lo")}, io.EOF}
	err := Replay(t.Context(), from, Select{Interface: "eth0"}, []Output{{"one", one}, {"two", two}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*tally{one, two} {
		if want := 2*3 + 3; s.seen != 3 || s.rows != want || s.closed != 1 {
			t.Errorf("got %d batches, %d rows, closed %d times; want 3, %d, once", s.seen, s.rows, s.closed, want)
		}
	}
}

func TestReplayFails(t *testing.T) {
	f := func(name string, end error, fails int, want error, batches int) {
		t.Helper()
		bad, good := &tally{fail: func(n int) bool { return n == fails }}, &tally{}
		from := &tape{[]*record.Batch{batchOf("a"), batchOf("a")}, end}
		err := Replay(t.Context(), from, Select{}, []Output{{"bad", bad}, {"good", good}})
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
		if bad.seen != batches || bad.closed != 1 || good.closed != 1 {
			t.Errorf("%s: got %d batches, closed %d and %d times; want %d, once each", name, bad.seen, bad.closed, good.closed, batches)
		}
	}
	f("whole", io.EOF, 0, nil, 2)
	f("cut short", io.ErrUnexpectedEOF, 0, io.ErrUnexpectedEOF, 2)
	f("sink fails", io.EOF, 1, errSink, 1)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &tally{}
	if err := Replay(ctx, &tape{[]*record.Batch{batchOf("a")}, io.EOF}, Select{}, []Output{{"s", s}}); err != nil || s.seen != 0 || s.closed != 1 {
		t.Errorf("stopped: got %d batches, closed %d times, error %v; want 0, once, nil", s.seen, s.closed, err)
	}
}
