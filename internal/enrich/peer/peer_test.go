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

// told is an answer; asked is a connection that begins.
type told struct {
	who  Owner
	name string
	addr string
	at   uint64 // s
	ttl  time.Duration
}

func learn(n *Names, list ...told) {
	for _, a := range list {
		n.Learn(a.who, a.name, netip.MustParseAddr(a.addr), a.at*second, a.ttl)
	}
}

func TestNames(t *testing.T) {
	const least, most = uint64(minTTL / time.Second), uint64(maxTTL / time.Second)
	stranger, unknown := Owner{Start: 40, PID: 4, NetNS: 100}, Owner{NetNS: 100}
	reused := Owner{Start: 99, PID: curl.PID, NetNS: 100}
	for name, c := range map[string]struct {
		answers []told
		who     Owner
		addr    string
		at      uint64
		want    string
	}{
		"nothing told":              {nil, curl, "192.0.2.1", 100, ""},
		"told":                      {[]told{{curl, "a.example", "192.0.2.1", 100, 0}}, curl, "192.0.2.1", 100, "a.example"},
		"IPv6":                      {[]told{{curl, "a.example", "2001:db8::1", 100, 0}}, curl, "2001:db8::1", 100, "a.example"},
		"another address":           {[]told{{curl, "a.example", "192.0.2.1", 100, 0}}, curl, "192.0.2.2", 100, ""},
		"before it was told":        {[]told{{curl, "a.example", "192.0.2.1", 100, 0}}, curl, "192.0.2.1", 99, ""},
		"short TTL, connects later": {[]told{{curl, "a.example", "192.0.2.1", 100, time.Second}}, curl, "192.0.2.1", 100 + least, "a.example"},
		"short TTL, over":           {[]told{{curl, "a.example", "192.0.2.1", 100, time.Second}}, curl, "192.0.2.1", 101 + least, ""},
		"long TTL":                  {[]told{{curl, "a.example", "192.0.2.1", 100, time.Hour}}, curl, "192.0.2.1", 3700, "a.example"},
		"long TTL, over":            {[]told{{curl, "a.example", "192.0.2.1", 100, time.Hour}}, curl, "192.0.2.1", 3701, ""},
		"endless TTL":               {[]told{{curl, "a.example", "192.0.2.1", 100, 1 << 62}}, curl, "192.0.2.1", 101 + most, ""},
		"told again":                {[]told{{curl, "a.example", "192.0.2.1", 100, 0}, {curl, "a.example", "192.0.2.1", 200, 0}}, curl, "192.0.2.1", 200 + least, "a.example"},
		"told again, asked for then": {[]told{{curl, "a.example", "192.0.2.1", 100, 0}, {curl, "a.example", "192.0.2.1", 200, 0}}, curl, "192.0.2.1",
			150, "a.example"},
		"two names, the later": {[]told{{curl, "a.example", "192.0.2.1", 100, 0}, {curl, "b.example", "192.0.2.1", 101, 0}}, curl, "192.0.2.1",
			101, "b.example"},
		"two names, begun before the later": {[]told{{curl, "a.example", "192.0.2.1", 100, 0}, {curl, "b.example", "192.0.2.1", 102, 0}}, curl, "192.0.2.1",
			101, "a.example"},
		"back and forth": {[]told{{curl, "a.example", "192.0.2.1", 100, 0}, {curl, "b.example", "192.0.2.1", 101, 0}, {curl, "a.example", "192.0.2.1", 102, 0}},
			curl, "192.0.2.1", 103, "a.example"},
		"two processes, the one":   {[]told{{curl, "a.example", "192.0.2.1", 100, 0}, {wget, "b.example", "192.0.2.1", 101, 0}}, curl, "192.0.2.1", 102, "a.example"},
		"two processes, the other": {[]told{{curl, "a.example", "192.0.2.1", 100, 0}, {wget, "b.example", "192.0.2.1", 101, 0}}, wget, "192.0.2.1", 102, "b.example"},
		"two processes, a third":   {[]told{{curl, "a.example", "192.0.2.1", 100, 0}, {wget, "b.example", "192.0.2.1", 101, 0}}, stranger, "192.0.2.1", 102, ""},
		"two processes, one later": {[]told{{curl, "a.example", "192.0.2.1", 100, 0}, {wget, "b.example", "192.0.2.1", 110, 0}}, stranger, "192.0.2.1", 105, "a.example"},
		"two processes, of one mind": {[]told{{curl, "a.example", "192.0.2.1", 100, 0}, {wget, "a.example", "192.0.2.1", 101, 0}}, stranger, "192.0.2.1",
			102, "a.example"},
		"asked for by another":  {[]told{{curl, "a.example", "192.0.2.1", 100, 0}}, stranger, "192.0.2.1", 102, "a.example"},
		"nobody known":          {[]told{{curl, "a.example", "192.0.2.1", 100, 0}}, unknown, "192.0.2.1", 102, "a.example"},
		"nobody known told":     {[]told{{unknown, "a.example", "192.0.2.1", 100, 0}, {unknown, "b.example", "192.0.2.1", 101, 0}}, unknown, "192.0.2.1", 102, ""},
		"another namespace":     {[]told{{curl, "a.example", "192.0.2.1", 100, 0}, {pod, "b.example", "192.0.2.1", 101, 0}}, pod, "192.0.2.1", 102, "b.example"},
		"only elsewhere":        {[]told{{pod, "b.example", "192.0.2.1", 101, 0}}, curl, "192.0.2.1", 102, ""},
		"the number used again": {[]told{{curl, "a.example", "192.0.2.1", 100, 0}, {wget, "b.example", "192.0.2.1", 101, 0}}, reused, "192.0.2.1", 102, ""},
		"own is over, others good": {[]told{{curl, "a.example", "192.0.2.1", 100, 0}, {wget, "b.example", "192.0.2.1", 101, time.Hour}}, curl, "192.0.2.1",
			200 + least, "b.example"},
	} {
		n := New()
		learn(n, c.answers...)
		if got := n.Name(c.who, netip.MustParseAddr(c.addr), c.at*second); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		if evicted := n.Evicted(); evicted != 0 {
			t.Errorf("%s: got %d names evicted, want none", name, evicted)
		}
	}
}

// TestManyNamesOfOneAddress: those told last stay, and while one is missing that
// would be good, nobody is of one mind.
func TestManyNamesOfOneAddress(t *testing.T) {
	n := New()
	learn(n, told{pod, "elsewhere.example", "192.0.2.1", 100, 0})
	for i := range maxAnswers + 2 {
		learn(n, told{Owner{Start: 1, PID: uint32(i + 1), NetNS: 100}, fmt.Sprintf("%d.example", i), "192.0.2.1", 100, 0})
	}
	addr := netip.MustParseAddr("192.0.2.1")
	for i, want := range []string{"", "", "2.example", "3.example"} {
		if got := n.Name(Owner{Start: 1, PID: uint32(i + 1), NetNS: 100}, addr, 101*second); got != want {
			t.Errorf("process %d: got %q, want %q", i+1, got, want)
		}
	}
	if got := n.Evicted(); got != 2 {
		t.Errorf("got %d names evicted, want 2", got)
	}
	// The same answer to all, later: but two others are missing.
	for i := range maxAnswers {
		learn(n, told{Owner{Start: 1, PID: uint32(i + 1), NetNS: 100}, "all.example", "192.0.2.1", 102, time.Hour})
	}
	stranger := Owner{Start: 7, PID: 77, NetNS: 100}
	if got := n.Name(stranger, addr, 103*second); got != "" {
		t.Errorf("got %q while others may be good, want none", got)
	}
	if got := n.Name(stranger, addr, 1000*second); got != "all.example" {
		t.Errorf("got %q when the others are over, want all.example", got)
	}
}

// TestRoom: what is over makes room without being missed, and what is not is
// counted.
func TestRoom(t *testing.T) {
	n := newNames(2)
	learn(n, told{curl, "a.example", "192.0.2.1", 100, 0}, told{curl, "b.example", "192.0.2.2", 100, time.Hour})
	learn(n, told{curl, "c.example", "192.0.2.3", 1000, 0}) // the first is over
	if got := n.Evicted(); got != 0 {
		t.Errorf("got %d names evicted, want none", got)
	}
	learn(n, told{curl, "d.example", "192.0.2.4", 1001, 0})
	if got := n.Evicted(); got != 1 {
		t.Errorf("got %d names evicted, want 1", got)
	}
	if got := n.Name(curl, netip.MustParseAddr("192.0.2.4"), 1001*second); got != "d.example" {
		t.Errorf("got %q, want d.example", got)
	}
	for i := range 2 * maxAnswers { // each over when the next comes
		learn(n, told{curl, fmt.Sprintf("%d.example", i), "192.0.2.4", 2000 + 1000*uint64(i), 0})
	}
	if got := n.Evicted(); got != 0 {
		t.Errorf("got %d names evicted of those that are over, want none", got)
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
