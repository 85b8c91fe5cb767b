package scenario

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
	"github.com/netfate/netfate/test/witness"
)

// A storm is two million datagrams of two hundred thousand flows, all of them
// for closed ports. With -short, for machines without hardware, it is a
// twentieth of both, which still overflows the tables of drops.
const (
	calmShare = 20
	// stormMemory bounds each netfate's resident memory.
	stormMemory = 256 << 20
)

// stormSize returns how many packets and flows the storm has.
func stormSize() (packets, flows int) {
	packets, flows = 2_000_000, 200_000
	if testing.Short() {
		return packets / calmShare, flows / calmShare
	}
	return packets, flows
}

// TestStorm checks that totals stay exact when neither the drops' nor the
// flows' tables can hold everything: two netfates watch one storm.
func TestStorm(t *testing.T) {
	need.Root(t)
	witness.Agree(t, func() ([]string, bool) { return watchStorm(t) })
}

func watchStorm(t *testing.T) (wrong []string, skipped bool) {
	client, server := pair(netlab.New(t))
	spaces := []*netlab.NetNS{client, server}
	before := settled(t, spaces)

	var dropped, elsewhere uint64
	fields := record.Fields(record.Drop{})
	drops := startWatch(t, func(row []byte) error {
		var d record.Drop
		if err := record.ParseJSON(row, fields, &d); err != nil {
			return err
		}
		switch {
		case d.Sample || d.NetNS != server.Inode:
		case (d.Reason == "NO_SOCKET" || d.Reason == "" && strings.HasPrefix(d.Location, "__udp4_lib_rcv+")) && d.Proto == "udp":
			dropped += d.Packets
		default:
			elsewhere += d.Packets
		}
		return nil
	}, "drops")
	s := newSums()
	flows := watchFlows(t, s)

	packets, flowCount := stormSize()
	storm(client, server, packets, flowCount)
	netlab.WaitFor(t, "the storm to pass", func() bool {
		return server.Counter("Udp", "NoPorts")+client.Link("eth0").Attrs().Statistics.TxDropped == uint64(packets)
	})
	after := settled(t, spaces)
	dropsMemory, flowsMemory := drops.rss(), flows.rss()
	drops.stop()
	flows.stop()

	if want := server.Counter("Udp", "NoPorts"); dropped != want {
		wrong = append(wrong, fmt.Sprintf("got %d packets dropped for NO_SOCKET, want %d", dropped, want))
	}
	if want := client.Link("eth0").Attrs().Statistics.TxDropped; elsewhere != want {
		wrong = append(wrong, fmt.Sprintf("got %d packets dropped for other reasons, want %d", elsewhere, want))
	}
	for at, now := range after {
		if got, want := s.buffers[at], minus(now, before[at]); got != want {
			wrong = append(wrong, fmt.Sprintf("%s: got %+v, want %+v as the interface counted", nameOf(spaces, at), got, want))
		}
	}
	for name, got := range map[string]uint64{"drops": dropsMemory, "flows": flowsMemory} {
		t.Logf("netfate %s: %d MB resident at most", name, got>>20)
		if got > stormMemory {
			t.Errorf("got %d MB resident for netfate %s, want at most %d", got>>20, name, stormMemory>>20)
		}
	}
	return wrong, drops.skipped() || flows.skipped()
}

// storm sends it from a packet socket: one frame, its ports changed each time.
// It has no UDP checksum, so nothing else changes with them.
func storm(client, server *netlab.NetNS, packets, flows int) {
	frame := netlab.Frame{
		SrcMAC: client.MAC("eth0"), DstMAC: server.MAC("eth0"),
		Src: netip.MustParseAddrPort("10.0.0.1:1"), Dst: netip.MustParseAddrPort("10.0.0.2:1"),
		Proto: netlab.ProtoUDP, Payload: make([]byte, 22),
	}.Bytes()
	at := netlab.TransportAt(frame)
	frame[at+6], frame[at+7] = 0, 0
	raw := client.Packets("eth0", 0)
	const sources = 50_000
	for i := range packets {
		// First every flow once, which is more than tables hold; then each flow's
		// other packets together, as traffic mostly comes.
		flow := i
		if i >= flows {
			flow = (i - flows) / (packets/flows - 1)
		}
		binary.BigEndian.PutUint16(frame[at:], uint16(1000+flow%sources))
		binary.BigEndian.PutUint16(frame[at+2:], uint16(20_000+flow/sources))
		raw.Send(frame)
	}
}
