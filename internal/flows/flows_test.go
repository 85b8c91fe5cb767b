package flows

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
)

var begin = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

const (
	ip4, arp = 0x0800, 0x0806
	tcp, udp = 6, 17
)

// sent is a packet of 100 bytes.
func sent(ms int, proto uint8, src, dst string, flags uint8) *packet.Packet {
	return &packet.Packet{
		Time: begin.Add(time.Duration(ms) * time.Millisecond), EtherType: ip4, Proto: proto, Flags: flags, Length: 100,
		Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst),
	}
}

// roll returns one line a flow.
func roll(t *Tracker) (lines []string) {
	now := begin.Add(time.Second)
	var b record.Batch
	t.Roll(now, false, &b)
	for _, f := range b.Flows {
		line := fmt.Sprintf("%s %s %v>%v out %d/%d in %d/%d %s %v-%v", f.IfName, f.Proto, ends(&f, true), ends(&f, false),
			f.PacketsOut, f.BytesOut, f.PacketsIn, f.BytesIn, f.TCPFlags, f.Start.Sub(begin), f.End.Sub(begin))
		if f.Other {
			line += " other"
		}
		if f.Time != now || f.Direction != "" || f.HostPackets != f.PacketsIn+f.PacketsOut || f.HostBytes != f.BytesIn+f.BytesOut {
			line += fmt.Sprintf(": %+v", f)
		}
		lines = append(lines, line)
	}
	return lines
}

func check(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestBothWaysAreOneFlow(t *testing.T) {
	for _, c := range []struct{ client, server string }{{"10.0.0.1:40000", "10.0.0.2:80"}, {"10.0.0.2:40000", "10.0.0.1:80"}} {
		f := New()
		f.Packet(sent(5, tcp, c.server, c.client, packet.SYN|packet.ACK)) // captured out of order
		f.Packet(sent(4, tcp, c.client, c.server, packet.SYN))
		f.Packet(sent(6, tcp, c.client, c.server, packet.ACK))
		check(t, "begun", roll(f), fmt.Sprintf(" tcp %s>%s out 2/200 in 1/100 SA 4ms-6ms", c.client, c.server))
		f.Packet(sent(7, tcp, c.server, c.client, packet.ACK|packet.PSH))
		check(t, "going on", roll(f), fmt.Sprintf(" tcp %s>%s out 0/0 in 1/100 PA 7ms-7ms", c.client, c.server))
		check(t, "over", roll(f))
	}
}

// TestWhoBegan has what no SYN tells: ports, else who was first.
func TestWhoBegan(t *testing.T) {
	f := New()
	f.Packet(sent(1, udp, "10.0.0.1:53", "10.0.0.2:40000", 0))
	f.Packet(sent(2, udp, "10.0.0.2:5000", "10.0.0.1:5001", 0))
	f.Packet(sent(3, udp, "10.0.0.1:5001", "10.0.0.2:5000", 0))
	check(t, "flows", roll(f), " udp 10.0.0.2:40000>10.0.0.1:53 out 0/0 in 1/100  1ms-1ms", " udp 10.0.0.2:5000>10.0.0.1:5001 out 1/100 in 1/100  2ms-3ms")
}

func TestInterfaces(t *testing.T) {
	f := New()
	for i, name := range []string{"eth1", "eth0", "", "eth1"} {
		p := sent(i, udp, "10.0.0.1:5000", "10.0.0.2:5000", 0)
		p.Interface = name
		f.Packet(p)
	}
	const ends = "udp 10.0.0.1:5000>10.0.0.2:5000 out"
	check(t, "flows", roll(f), "eth1 "+ends+" 2/200 in 0/0  0s-3ms", "eth0 "+ends+" 1/100 in 0/0  1ms-1ms", " "+ends+" 1/100 in 0/0  2ms-2ms")
	p := sent(4, udp, "10.0.0.1:5000", "10.0.0.2:5000", 0)
	p.Interface = "eth0"
	f.Packet(p)
	check(t, "the next batch", roll(f), "eth0 "+ends+" 1/100 in 0/0  4ms-4ms")
}

func TestRest(t *testing.T) {
	f := New()
	for ms, etherType := range []uint16{arp, arp, 38, 0, 0} {
		f.Rest(&packet.Packet{Time: begin.Add(time.Duration(ms) * time.Millisecond), EtherType: etherType, Length: 60})
	}
	f.Rest(&packet.Packet{Length: 60, EtherType: 0x1234}) // no time
	const nobody = "invalid AddrPort>invalid AddrPort out"
	check(t, "flows", roll(f),
		fmt.Sprintf(" 0x1234 %s 1/60 in 0/0  %v-%v", nobody, time.Unix(0, 1).Sub(begin), time.Unix(0, 1).Sub(begin)),
		" arp "+nobody+" 2/120 in 0/0  0s-1ms", " llc "+nobody+" 1/60 in 0/0  2ms-2ms", "  "+nobody+" 2/120 in 0/0  3ms-4ms other")
}
