package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/record"
)

func urlKey(method, host, path string, other uint32) *decode.URLKey {
	k := &decode.URLKey{Other: other}
	copy(k.Method[:], method)
	copy(k.Host[:], host)
	copy(k.Path[:], path)
	return k
}

// TestRequestCounts adds up what has one template, and the remainder by method.
func TestRequestCounts(t *testing.T) {
	var c requestCounts
	c.add(urlKey("GET", "h", "/item/1", 0), 2)
	c.add(urlKey("GET", "h", "/item/2", 0), 3)
	c.add(urlKey("GET", "g", "/item/2", 0), 1)
	c.add(urlKey("GET", "", "", 1), 7)
	c.add(urlKey("GET", "", "", 1), 1) // of the other generation
	c.add(urlKey("", "", "", 1), 1)
	c.add(urlKey("CONNECT", "h:443", "", 0), 4)
	b := &record.Batch{Start: time.Unix(1, 0), End: time.Unix(2, 0)}
	c.roll(b, "web1")
	row := func(method, host, path string, n uint64, other bool) record.RequestSum {
		return record.RequestSum{Time: b.End, Start: b.Start, Host: "web1", Method: method, HostName: host, Path: path, Requests: n, Other: other}
	}
	want := []record.RequestSum{
		row("GET", "", "", 8, true), row("GET", "h", "/item/{id}", 5, false), row("CONNECT", "h:443", "", 4, false),
		row("", "", "", 1, true), row("GET", "g", "/item/{id}", 1, false),
	}
	cmpAddr := cmp.Comparer(func(x, y record.RequestSum) bool { return x == y })
	if diff := cmp.Diff(want, b.RequestCounts, cmpAddr); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	b.RequestCounts = nil
	if c.roll(b, "web1"); len(b.RequestCounts) > 0 {
		t.Errorf("a second time: got %v, want nothing", b.RequestCounts)
	}
}

func TestURLOfFullKey(t *testing.T) {
	k := &decode.URLKey{}
	for i := range k.Method {
		k.Method[i] = 'M'
	}
	if got := urlOf(k); len(got.method) != decode.MethodLen {
		t.Errorf("a method without a NUL: got %q", got.method)
	}
}

func TestConfigCheck(t *testing.T) {
	f := func(cfg Config, want error) {
		t.Helper()
		if err := cfg.check(); !errors.Is(err, want) {
			t.Errorf("%+v: got %v, want %v", cfg, err, want)
		}
	}
	f(Config{}, nil)
	f(Config{Requests: true, Select: Select{PID: 1}}, nil)
	f(Config{CountRequests: true}, nil)
	f(Config{CountRequests: true, Requests: true}, errBoth)
	f(Config{CountRequests: true, Select: Select{PID: 1}}, errSelected)
}
