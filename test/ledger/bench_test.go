package ledger

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/netlab"
)

// BenchmarkInterval200 keeps the books of 200 namespaces as containers have them: a
// veth with an address, a UDP socket, a listener, a rule in each tenth. What counts is
// cpu-ms/interval, all that this process uses between two ends of intervals: sensors,
// names, counters and balances.
func BenchmarkInterval200(b *testing.B) {
	lab := netlab.New(b)
	hub := lab.NetNS("hub")
	var all []*netlab.NetNS
	for i := range 200 {
		n := lab.NetNS(fmt.Sprintf("c%d", i))
		lab.Veth(hub, fmt.Sprintf("v%d", i), n, "eth0")
		n.Addr("eth0", "10.6.0.2/24")
		n.ListenUDP("10.6.0.2:53")
		n.ListenTCP("10.6.0.2:80")
		all = append(all, n)
		if i%10 == 0 {
			n.NFT("table inet t { chain in { type filter hook input priority 0; udp dport 9 counter drop; }; }")
		}
	}
	c := open(b, true)
	c.pass(b, 5) // names are found, and what building them sent is over
	before, began := used(b), c.count()
	for b.Loop() {
		c.pass(b, 1)
	}
	intervals := c.count() - began
	b.ReportMetric(float64((used(b)-before).Microseconds())/1000/float64(intervals), "cpu-ms/interval")
	for _, n := range all { // to itself, so that there is something in its book
		n.Datagrams("10.6.0.2:53", 1, payload)
	}
	c.pass(b, 2)
	c.mu.Lock()
	defer c.mu.Unlock()
	spaces := map[uint32]bool{}
	for i := range c.lines {
		spaces[c.lines[i].NetNS] = true
	}
	if len(spaces) < 200 {
		b.Fatalf("got the books of %d namespaces, want all 200", len(spaces))
	}
}

// used returns what this process has used, in user and system time.
func used(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
