package peer

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

const second = uint64(time.Second)

var (
	curl = Owner{Start: 10, PID: 1, NetNS: 100}
	wget = Owner{Start: 20, PID: 2, NetNS: 100}
	pod  = Owner{Start: 30, PID: 3, NetNS: 200}
)

// answer is what one process is told.
type answer struct {
	who  Owner
	name string
	addr string
	at   uint64 // s
	ttl  time.Duration
}

func learn(n *Names, list ...answer) {
	for _, a := range list {
		n.Learn(a.who, a.name, netip.MustParseAddr(a.addr), a.at*second, a.ttl)
	}
}

func TestNames(t *testing.T) {
	const least, most = uint64(minTTL / time.Second), uint64(maxTTL / time.Second)
	stranger, unknown := Owner{Start: 40, PID: 4, NetNS: 100}, Owner{NetNS: 100}
	reused := Owner{Start: 99, PID: curl.PID, NetNS: 100}
	for name, c := range map[string]struct {
		answers []answer
		who     Owner
		addr    string
		at      uint64
		want    string
	}{
		"nothing told":              {nil, curl, "192.0.2.1", 100, ""},
		"told":                      {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}}, curl, "192.0.2.1", 100, "a.example"},
		"IPv6":                      {[]answer{{curl, "a.example", "2001:db8::1", 100, 0}}, curl, "2001:db8::1", 100, "a.example"},
		"another address":           {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}}, curl, "192.0.2.2", 100, ""},
		"before it was told":        {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}}, curl, "192.0.2.1", 99, ""},
		"short TTL, connects later": {[]answer{{curl, "a.example", "192.0.2.1", 100, time.Second}}, curl, "192.0.2.1", 100 + least, "a.example"},
		"short TTL, over":           {[]answer{{curl, "a.example", "192.0.2.1", 100, time.Second}}, curl, "192.0.2.1", 101 + least, ""},
		"long TTL":                  {[]answer{{curl, "a.example", "192.0.2.1", 100, time.Hour}}, curl, "192.0.2.1", 3700, "a.example"},
		"long TTL, over":            {[]answer{{curl, "a.example", "192.0.2.1", 100, time.Hour}}, curl, "192.0.2.1", 3701, ""},
		"endless TTL":               {[]answer{{curl, "a.example", "192.0.2.1", 100, 1 << 62}}, curl, "192.0.2.1", 101 + most, ""},
		"told again":                {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}, {curl, "a.example", "192.0.2.1", 200, 0}}, curl, "192.0.2.1", 200 + least, "a.example"},
		"told again, asked for then": {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}, {curl, "a.example", "192.0.2.1", 200, 0}}, curl, "192.0.2.1",
			150, "a.example"},
		"two names, the later": {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}, {curl, "b.example", "192.0.2.1", 101, 0}}, curl, "192.0.2.1",
			101, "b.example"},
		"two names, begun before the later": {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}, {curl, "b.example", "192.0.2.1", 102, 0}}, curl, "192.0.2.1",
			101, "a.example"},
		"back and forth": {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}, {curl, "b.example", "192.0.2.1", 101, 0}, {curl, "a.example", "192.0.2.1", 102, 0}},
			curl, "192.0.2.1", 103, "a.example"},
		"two processes, the one":   {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}, {wget, "b.example", "192.0.2.1", 101, 0}}, curl, "192.0.2.1", 102, "a.example"},
		"two processes, the other": {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}, {wget, "b.example", "192.0.2.1", 101, 0}}, wget, "192.0.2.1", 102, "b.example"},
		"two processes, a third":   {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}, {wget, "b.example", "192.0.2.1", 101, 0}}, stranger, "192.0.2.1", 102, ""},
		"two processes, one later": {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}, {wget, "b.example", "192.0.2.1", 110, 0}}, stranger, "192.0.2.1", 105, "a.example"},
		"two processes, of one mind": {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}, {wget, "a.example", "192.0.2.1", 101, 0}}, stranger, "192.0.2.1",
			102, "a.example"},
		"asked for by another":  {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}}, stranger, "192.0.2.1", 102, "a.example"},
		"nobody known":          {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}}, unknown, "192.0.2.1", 102, "a.example"},
		"nobody known told":     {[]answer{{unknown, "a.example", "192.0.2.1", 100, 0}, {unknown, "b.example", "192.0.2.1", 101, 0}}, unknown, "192.0.2.1", 102, ""},
		"another namespace":     {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}, {pod, "b.example", "192.0.2.1", 101, 0}}, pod, "192.0.2.1", 102, "b.example"},
		"only elsewhere":        {[]answer{{pod, "b.example", "192.0.2.1", 101, 0}}, curl, "192.0.2.1", 102, ""},
		"the number used again": {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}, {wget, "b.example", "192.0.2.1", 101, 0}}, reused, "192.0.2.1", 102, ""},
		"own is over, others good": {[]answer{{curl, "a.example", "192.0.2.1", 100, 0}, {wget, "b.example", "192.0.2.1", 101, time.Hour}}, curl, "192.0.2.1",
			200 + least, "b.example"},
	} {
		n := New()
		learn(n, c.answers...)
		if got := n.Name(c.who, netip.MustParseAddr(c.addr), c.at*second); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		if lost := n.Lost(); lost != 0 {
			t.Errorf("%s: got %d names lost, want none", name, lost)
		}
	}
}

// TestManyNamesOfOneAddress: each process knows its own, and while one is missing
// that would be good, nobody else is sure.
func TestManyNamesOfOneAddress(t *testing.T) {
	n := New()
	process := func(i int) Owner { return Owner{Start: 1, PID: uint32(i + 1), NetNS: 100} }
	const processes = maxNames + 2
	for i := range processes {
		learn(n, answer{process(i), fmt.Sprintf("%d.example", i), "192.0.2.1", 100, 0})
	}
	addr := netip.MustParseAddr("192.0.2.1")
	for i := range processes {
		if got, want := n.Name(process(i), addr, 101*second), fmt.Sprintf("%d.example", i); got != want {
			t.Errorf("process %d: got %q, want %q", i, got, want)
		}
	}
	stranger := Owner{Start: 7, PID: 77, NetNS: 100}
	for i := range maxNames { // one after the other, they are all that is left
		learn(n, answer{process(i), fmt.Sprintf("later-%d.example", i), "192.0.2.1", 401, 0})
	}
	learn(n, answer{process(0), "latest.example", "192.0.2.1", 600, time.Hour})
	if got := n.Name(stranger, addr, 650*second); got != "" {
		t.Errorf("got %q while others may be good, want none", got)
	}
	if got := n.Name(stranger, addr, 1000*second); got != "latest.example" {
		t.Errorf("got %q when the others are over, want latest.example", got)
	}
	if got := n.Lost(); got != 0 {
		t.Errorf("got %d names lost, want none: who asked for them has them", got)
	}
}

// TestManyProcesses: who is forgotten is called as everybody, if that is clear, and
// counted if not.
func TestManyProcesses(t *testing.T) {
	n := newNames(2, 10)
	addr, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	learn(n, answer{curl, "a.example", "192.0.2.1", 100, 0}, answer{curl, "x.example", "192.0.2.2", 100, 0})
	learn(n, answer{wget, "b.example", "192.0.2.1", 101, 0}, answer{wget, "x.example", "192.0.2.2", 101, 0})
	if got := n.Name(curl, other, 102*second); got != "x.example" || n.Lost() != 0 {
		t.Errorf("got %q, want x.example, and nothing lost", got)
	}
	if got := n.Name(curl, addr, 102*second); got != "" {
		t.Errorf("got %q, want none", got)
	}
	if got := n.Lost(); got != 1 {
		t.Errorf("got %d names lost, want 1", got)
	}
	if got := n.Name(wget, addr, 102*second); got != "b.example" {
		t.Errorf("got %q, want b.example", got)
	}
}

// TestManyAddresses: what is over makes room without being missed, and what is not
// is counted.
func TestManyAddresses(t *testing.T) {
	n := newNames(10, 2)
	learn(n, answer{curl, "a.example", "192.0.2.1", 100, 0}, answer{curl, "b.example", "192.0.2.2", 100, time.Hour})
	learn(n, answer{curl, "c.example", "192.0.2.3", 1000, 0}) // the first is over
	if got := n.Lost(); got != 0 {
		t.Errorf("got %d names lost, want none", got)
	}
	learn(n, answer{curl, "d.example", "192.0.2.4", 1001, 0})
	if got := n.Lost(); got != 1 {
		t.Errorf("got %d names lost, want 1", got)
	}
	if got := n.Name(curl, netip.MustParseAddr("192.0.2.4"), 1001*second); got != "d.example" {
		t.Errorf("got %q, want d.example", got)
	}
}

// TestChangesOfOneProcess: the latest are remembered.
func TestChangesOfOneProcess(t *testing.T) {
	n := New()
	addr := netip.MustParseAddr("192.0.2.1")
	for i := range 10 {
		learn(n, answer{curl, fmt.Sprintf("%d.example", i), "192.0.2.1", 100 + uint64(i), 0})
	}
	for i := 10 - maxTimes; i < 10; i++ {
		if got, want := n.Name(curl, addr, (100+uint64(i))*second), fmt.Sprintf("%d.example", i); got != want {
			t.Errorf("at %d s: got %q, want %q", 100+i, got, want)
		}
	}
	if got := n.Name(curl, addr, 101*second); got != "" {
		t.Errorf("longer ago: got %q, want none", got)
	}
}

func BenchmarkName(b *testing.B) {
	n := New()
	addr := netip.MustParseAddr("192.0.2.1")
	n.Learn(curl, "a.example", addr, 1, time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		n.Name(curl, addr, 2)
	}
}
