package historytest

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// Traffic is what a host with so many flows says in one minute of a day like others:
// services that are asked by many, processes that ask some, a new source port each
// minute. Each flow is a row of its own, and is the same whenever it is made.
func Traffic(minute, flows int) *record.Batch {
	start := Begin().Add(time.Duration(minute) * time.Minute)
	b := &record.Batch{Start: start, End: start.Add(time.Minute), Flows: make([]record.Flow, flows)}
	for i := range b.Flows {
		b.Flows[i] = traffic(b.End, minute, i)
	}
	return b
}

// processes is how many processes the traffic is of, and peers with how many others
// each talks.
const processes, peers = 60, 250

func traffic(end time.Time, minute, i int) record.Flow {
	p := i % processes
	seed := uint64(i)*2654435761 + uint64(minute)*40503
	some := func(n uint64) uint64 { seed = seed*6364136223846793005 + 1442695040888963407; return seed >> 33 % n }
	f := record.Flow{
		Endpoints: record.Endpoints{
			Time: end, Host: "web1", NetNS: 4026531840, NetNSName: "host", IfName: "eth0", Proto: "tcp",
			SrcAddr: netip.AddrFrom4([4]byte{10, 0, byte(p), 1}), SrcPort: uint16(32768 + some(28000)),
			DstAddr: netip.AddrFrom4([4]byte{192, 0, byte(i / peers % 256), byte(i%peers + 1)}), DstPort: 443,
			Owner: record.Owner{PID: uint32(1000 + p), Comm: fmt.Sprint("process-", p), Cgroup: fmt.Sprintf("/system.slice/unit-%d.service", p)},
		},
		Direction: record.Out, TCPFlags: "PA", RTTMicros: uint32((500 + 40*uint64(i%400)) * (96 + some(9)) / 100),
		PacketsOut: 1 + some(5000), PacketsIn: 1 + some(5000),
	}
	if p%3 == 0 {
		f.DstPort = 5432
	}
	f.BytesOut, f.BytesIn = f.PacketsOut*(60+some(1400)), f.PacketsIn*(60+some(1400))
	f.BuffersOut, f.BuffersIn = f.PacketsOut/2+1, f.PacketsIn/3+1
	f.BufferBytesOut, f.BufferBytesIn = f.BytesOut, f.BytesIn
	f.HostPackets, f.HostBytes = f.PacketsOut+f.PacketsIn, f.BytesOut+f.BytesIn
	return f
}
