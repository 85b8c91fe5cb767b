package faults

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"github.com/netfate/netfate/test/netlab"
)

// hostile sends frames that nobody would, into a namespace with sockets that would take
// what is well-formed: as many are received as were sent, and the daemon lives.
func hostile(t *testing.T, d *daemon) []string {
	n := d.lab().NetNS("target")
	tap := n.Tap("tap0")
	n.Addr("tap0", serverAddr+"/24")
	for _, port := range []int{53, 443, 5353} {
		n.ListenUDP(fmt.Sprintf("%s:%d", serverAddr, port))
	}
	for _, port := range []int{53, 80, 443} {
		n.ListenTCP(fmt.Sprintf("%s:%d", serverAddr, port))
	}
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	m := mutator{rng: rand.New(rand.NewPCG(seed, 3)), seeds: append(handmade(tap), captured(t)...)}
	before := receivedBy(n, "tap0")
	frames := hostileFrames()
	for range frames {
		tap.Send(m.next(tap))
	}
	if got := receivedBy(n, "tap0") - before; got != uint64(frames) {
		t.Fatalf("the interface received %d frames of the %d that were sent: the test is wrong", got, frames)
	}
	return d.differ(count{"hostile frames received", "flows", "buffers_in", []string{fmt.Sprintf("netns=%d", n.Inode), notLo, notFirst}, func() uint64 {
		return uint64(frames)
	}})
}

// handmade are frames that sockets of the target would take.
func handmade(tap *netlab.Tap) (all [][]byte) {
	from := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(clientAddr), port) }
	to := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(serverAddr), port) }
	const question = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01"
	v6 := netip.MustParseAddr("fd00::2")
	for _, f := range []netlab.Frame{
		{Src: from(4000), Dst: to(53), Proto: netlab.ProtoUDP, Payload: []byte(question)},
		{Src: from(5353), Dst: to(5353), Proto: netlab.ProtoUDP, Payload: []byte(question)},
		{Src: from(4001), Dst: to(443), Proto: netlab.ProtoUDP, Payload: append([]byte{0xc3, 0, 0, 0, 1, 8}, make([]byte, 1200)...)},
		{Src: from(4002), Dst: to(80), Proto: netlab.ProtoTCP, Flags: netlab.SYN, Seq: 1, TCPOptions: []byte{2, 4, 5, 180, 1, 3, 3, 7}},
		{Src: from(4002), Dst: to(80), Proto: netlab.ProtoTCP, Flags: netlab.ACK | netlab.PSH, Seq: 2, Payload: []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{Src: from(4003), Dst: to(443), Proto: netlab.ProtoTCP, Flags: netlab.ACK, Seq: 2, Payload: []byte("\x16\x03\x01\x00\x10\x01\x00\x00\x0c\x03\x03")},
		{Src: from(0), Dst: to(0), Proto: netlab.ProtoICMP, Payload: []byte{8, 0, 0, 0, 0, 1, 0, 1}},
		{Src: from(4004), Dst: to(53), Proto: netlab.ProtoUDP, More: true, ID: 7, Payload: make([]byte, 64)},
		{Src: from(4004), Dst: to(53), Proto: netlab.ProtoUDP, Offset: 64, ID: 7, Payload: make([]byte, 64)},
		{Src: from(4005), Dst: to(53), Proto: netlab.ProtoUDP, Options: []byte{7, 7, 4, 0, 0, 0, 0, 0}, Payload: []byte(question)},
		{Src: from(4006), Dst: to(53), Proto: netlab.ProtoUDP, VLAN: 7, Payload: []byte(question)},
		{Src: netip.AddrPortFrom(v6, 4007), Dst: netip.AddrPortFrom(v6, 53), Proto: netlab.ProtoUDP, Payload: []byte(question)},
		{EtherType: netlab.EtherARP, Payload: make([]byte, 28)},
	} {
		all = append(all, tap.Address(f).Bytes())
	}
	return all
}

// captured are the frames of the public captures; without these there are none.
func captured(t *testing.T) (all [][]byte) {
	t.Helper()
	if testing.Short() {
		return nil // a guest reads files slowly
	}
	files, err := filepath.Glob("../../../shared/captures/*.pcap")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		in, err := pcapgo.NewReader(bytes.NewReader(text))
		if err != nil {
			continue // of another format
		}
		for range 20 {
			frame, _, err := in.ReadPacketData()
			if err != nil {
				break // it is over, or cut on purpose
			}
			all = append(all, frame)
		}
	}
	return all
}

// mutator makes frames of others.
type mutator struct {
	rng   *rand.Rand
	seeds [][]byte
}

// largest is the largest frame that it makes, in bytes.
const largest = 1514

// next is a frame that was changed in a few ways.
func (m *mutator) next(tap *netlab.Tap) []byte {
	f := bytes.Clone(m.seeds[m.rng.IntN(len(m.seeds))])
	for range 1 + m.rng.IntN(4) {
		f = m.change(f)
		if short := 14 - len(f); short > 0 { // of less than an Ethernet header a tap takes nothing
			f = append(f, make([]byte, short)...)
		}
	}
	f = f[:min(len(f), largest)]
	if m.rng.IntN(20) > 0 { // else it is for another host, or all of them
		copy(f, tap.MAC)
	}
	if m.rng.IntN(2) == 0 && len(f) >= 34 && f[12] == 8 && f[13] == 0 && f[14] == 0x45 {
		f = netlab.Resum(f) // what is wrong may be further inside
	}
	return f
}

// change is one way.
func (m *mutator) change(f []byte) []byte {
	at := 12 + m.rng.IntN(max(len(f)-12, 1))
	switch m.rng.IntN(7) {
	case 0:
		return f[:min(at, len(f))]
	case 1: // a bit
		f[min(at, len(f)-1)] ^= 1 << m.rng.IntN(8)
	case 2: // a length or a number at its bound
		if at+2 <= len(f) {
			binary.BigEndian.PutUint16(f[at:], []uint16{0, 1, 7, 0x7fff, 0x8000, 0xffff}[m.rng.IntN(6)])
		}
	case 3: // one header more: a tag, a tunnel, the packet inside itself
		return m.nest(f)
	case 4: // a fragment
		if len(f) >= 34 {
			binary.BigEndian.PutUint16(f[20:], uint16(m.rng.Uint32()))
		}
	case 5: // another protocol, another length of the header
		if len(f) >= 34 {
			f[14], f[23] = f[14]&0xf0|byte(m.rng.IntN(16)), []byte{0, 1, 2, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 255}[m.rng.IntN(17)]
		}
	default: // the end of another one
		other := m.seeds[m.rng.IntN(len(m.seeds))]
		return append(f[:min(at, len(f))], other[min(at, len(other)):]...)
	}
	return f
}

// nest puts the packet into another one.
func (m *mutator) nest(f []byte) []byte {
	inner := bytes.Clone(f[12:])
	switch m.rng.IntN(3) {
	case 0: // tags, up to many
		for range 1 + m.rng.IntN(12) {
			inner = append([]byte{[]byte{0x81, 0x88}[m.rng.IntN(2)], []byte{0x00, 0xa8}[m.rng.IntN(2)], 0, 5}, inner...)
		}
		return append(bytes.Clone(f[:12]), inner...)
	case 1: // IPv4 in IPv4
		if len(f) < 34 {
			return f
		}
		outer := bytes.Clone(f[:34])
		outer[14], outer[23] = 0x45, 4
		binary.BigEndian.PutUint16(outer[16:], uint16(20+len(f)-14))
		return append(outer, f[14:]...)
	}
	// Ethernet in GRE in IPv4
	if len(f) < 34 {
		return f
	}
	outer := bytes.Clone(f[:34])
	outer[12], outer[13], outer[14], outer[23] = 8, 0, 0x45, 47
	binary.BigEndian.PutUint16(outer[16:], uint16(24+len(f)))
	return append(append(outer, 0, 0, 0x65, 0x58), f...)
}
