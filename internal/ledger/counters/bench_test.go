package counters

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// BenchmarkSample200 samples 200 namespaces as containers have them: a veth
// with an address, a UDP socket, a listener, a rule in each tenth. What counts
// is cpu-ms/sample, of the whole process.
func BenchmarkSample200(b *testing.B) {
	need.Root(b)
	lab := netlab.New(b)
	hub := lab.NetNS("hub")
	var places []Place
	for i := range 200 {
		n := lab.NetNS(fmt.Sprintf("c%d", i))
		lab.Veth(hub, fmt.Sprintf("v%d", i), n, "eth0")
		n.Addr("eth0", "10.6.0.2/24")
		n.ListenUDP("10.6.0.2:53")
		n.ListenTCP("10.6.0.2:80")
		if i%10 == 0 {
			n.NFT("table inet t { chain in { type filter hook input priority 0; udp dport 9 counter drop; }; }")
		}
		places = append(places, Place{Inode: n.Inode, Path: n.Path()})
	}
	r := New()
	sample := func() *Sample {
		s := r.Sample(b.Context(), places)
		for i := range s.Namespaces {
			for _, g := range s.Namespaces[i].Gaps {
				if g.Part != PartNetlink || i < maxNetlink {
					b.Fatalf("gap %+v, want none", g)
				}
			}
		}
		return s
	}
	last := sample()
	b.ReportAllocs()
	before := processCPU(b)
	parts := map[Part]time.Duration{}
	for b.Loop() {
		s := sample()
		for i := range s.Namespaces {
			for _, read := range s.Namespaces[i].Reads {
				parts[read.Part] += read.End - read.Start
			}
		}
		Difference(last, s)
		last = s
	}
	b.ReportMetric(float64(processCPU(b)-before)/1e6/float64(b.N), "cpu-ms/sample")
	b.ReportMetric(float64(last.CPU)/1e6, "thread-ms/sample")
	for _, part := range sortedKeys(parts) {
		b.Logf("%-10s %s", part, parts[part]/time.Duration(b.N*len(places)))
	}
}

// processCPU returns what this process has used, in user and system time.
func processCPU(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
