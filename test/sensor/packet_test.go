package sensor

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/sensor/packet"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// copying starts a packet sensor; the test ends it.
func copying(t *testing.T, cfg packet.Config) *packet.Sensor {
	t.Helper()
	s, err := packet.New(cfg)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	check(t, s.Attach())
	return s
}

// copied ends the copying and returns all packets, once it is sure that none but those
// told as missed is missing.
func copied(t *testing.T, s *packet.Sensor) (all []packet.Frame, missed uint64) {
	t.Helper()
	check(t, s.Detach())
	for more := true; more; {
		var err error
		more, err = s.Read(time.Now(), func(f *packet.Frame) error {
			all = append(all, *f)
			return nil
		})
		check(t, err)
	}
	losses, err := s.Losses()
	check(t, err)
	for _, l := range losses {
		if l.Reason == "ring full" {
			missed += l.Count
		} else {
			t.Logf("lost: %+v", l)
		}
	}
	matched, err := s.Matched()
	check(t, err)
	if matched != uint64(len(all))+missed {
		t.Errorf("got %d packets and %d missed, want %d", len(all), missed, matched)
	}
	// More than are held at once are in order each time that they are read.
	if missed == 0 && !slices.IsSortedFunc(all, func(a, b packet.Frame) int { return int(int64(a.Time) - int64(b.Time)) }) {
		t.Error("packets are not in the order of their time")
	}
	return all, missed
}

// twoEnds are namespaces joined by a veth, as 10.0.0.1 and fd00::1, 10.0.0.2 and fd00::2.
func twoEnds(t *testing.T) (a, b *netlab.NetNS) {
	l := netlab.New(t)
	a, b = l.NetNS("a"), l.NetNS("b")
	a.IPv6()
	b.IPv6()
	l.Veth(a, "eth0", b, "eth0")
	for i, n := range []*netlab.NetNS{a, b} {
		other := []*netlab.NetNS{b, a}[i]
		n.Addr("eth0", []string{"10.0.0.1/24", "10.0.0.2/24"}[i])
		n.Addr("eth0", []string{"fd00::1/64", "fd00::2/64"}[i])
		n.Neigh("eth0", []string{"10.0.0.2", "10.0.0.1"}[i], other.MAC("eth0"))
		n.Neigh("eth0", []string{"fd00::2", "fd00::1"}[i], other.MAC("eth0"))
	}
	return a, b
}

// TestPackets sends datagrams and a stream, whose buffers are large and in pages: each is
// there once a device and way, whole, byte by byte.
func TestPackets(t *testing.T) {
	need.Root(t)
	a, b := twoEnds(t)
	s := copying(t, packet.Config{NetNS: a.Inode, Filter: compile(t, "udp port 9999 or tcp port 8080")})
	b.ListenUDP("10.0.0.2:9999")
	b.ListenUDP("[fd00::2]:9999")
	a.Datagrams("10.0.0.2:9999", 10, 100)
	a.Datagrams("[fd00::2]:9999", 10, 1000)
	out, in := netlab.ConnectTCP(a, b, "10.0.0.2:8080")
	sent := make([]byte, 300_000)
	for i := range sent {
		sent[i] = byte(i * i >> 7)
	}
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, io.LimitReader(in, int64(len(sent))))
		done <- err
	}()
	_, err := out.Write(sent)
	check(t, err)
	check(t, <-done)
	all, missed := copied(t, s)
	datagrams := map[int]int{}
	var got []byte
	var first uint32
	gso := 0
	for _, f := range all {
		if f.NetNS != a.Inode || f.L3 != 14 || f.Whole != uint32(len(f.Bytes)) {
			t.Fatalf("got %+v with %d bytes, want whole Ethernet frames of %d", f.FrameEvent, len(f.Bytes), a.Inode)
		}
		if f.Out == 0 {
			continue
		}
		ip := f.Bytes[14:]
		if proto := ip[9]; f.EthProto != 0x0800 || proto != 6 {
			datagrams[len(f.Bytes)]++
			continue
		}
		tcp := ip[int(ip[0]&15)*4:]
		payload := tcp[int(tcp[12]>>4)*4:]
		seq := binary.BigEndian.Uint32(tcp[4:])
		if first == 0 {
			first = seq + 1
		}
		if int(seq-first) == len(got) {
			got = append(got, payload...)
		}
		if f.Segments > 1 {
			gso++
		}
	}
	if want := map[int]int{142: 10, 1062: 10}; datagrams[142] != 10 || datagrams[1062] != 10 || len(datagrams) != 2 {
		t.Errorf("got datagrams %v by length, want %v", datagrams, want)
	}
	if missed > 0 || gso == 0 || !bytes.Equal(got, sent) {
		t.Errorf("got %d of %d bytes of the stream, %d large buffers, %d missed", len(got), len(sent), gso, missed)
	}
}

// TestPacketsCut: a copy has as many bytes as were asked for; raw tracepoints copy what is
// in the buffer itself.
func TestPacketsCut(t *testing.T) {
	need.Root(t)
	a, b := twoEnds(t)
	b.ListenUDP("10.0.0.2:9999")
	for _, c := range []struct {
		raw           bool
		snaplen, want uint32
	}{{false, 60, 60}, {true, 60, 60}, {false, 7, 7}, {false, 0, 1042}, {true, 0, 1042}} {
		s := copying(t, packet.Config{Raw: c.raw, NetNS: a.Inode, Snaplen: c.snaplen, Filter: compile(t, "udp port 9999")})
		a.Datagrams("10.0.0.2:9999", 5, 1000)
		all, _ := copied(t, s)
		for _, f := range all {
			if uint32(len(f.Bytes)) != c.want || f.Whole != 1042 || f.Out != 1 {
				t.Errorf("%+v: got %d of %d bytes, out %d", c, len(f.Bytes), f.Whole, f.Out)
			}
		}
		if len(all) != 5 {
			t.Errorf("%+v: got %d packets, want 5", c, len(all))
		}
	}
}

// TestPacketsMissed sends more than there is room for and nobody reads: what is read
// later and what is told as missed is all.
func TestPacketsMissed(t *testing.T) {
	need.Root(t)
	a, b := twoEnds(t)
	b.ListenUDP("10.0.0.2:9999")
	a.MTU("eth0", 65535)
	b.MTU("eth0", 65535)
	s := copying(t, packet.Config{NetNS: a.Inode, Filter: compile(t, "udp port 9999")})
	const many = 3000
	a.Datagrams("10.0.0.2:9999", many, 60_000)
	all, missed := copied(t, s)
	if missed == 0 || len(all) < 100 || uint64(len(all))+missed != many {
		t.Errorf("got %d packets and %d missed, want some of either and %d", len(all), missed, many)
	}
}
