package packet

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"

	"github.com/netfate/netfate/internal/record"
)

// parts cuts the packet of a frame of Ethernet into fragments of size bytes.
func parts(t testing.TB, version, size int, id uint16, payload []byte) [][]byte {
	var body []byte
	if version == 4 {
		body = frameOf(t, inner4(isUDP), udp(1000, 2000), raw(payload...))[20:]
	} else {
		body = frameOf(t, inner6(isUDP), udp(1000, 2000), raw(payload...))[40:]
	}
	var out [][]byte
	for from := 0; from < len(body); from += size {
		to := min(from+size, len(body))
		if version == 4 {
			h := inner4(isUDP)
			h.Id, h.FragOffset = id, uint16(from/8)
			if to < len(body) {
				h.Flags = layers.IPv4MoreFragments
			}
			out = append(out, frameOf(t, ethernet(ip4), h, raw(body[from:to]...)))
			continue
		}
		h := []byte{17, 0, 0, 0, 0, 0, 0, 0}
		binary.BigEndian.PutUint16(h[2:], uint16(from))
		if to < len(body) {
			h[3] |= 1
		}
		binary.BigEndian.PutUint16(h[6:], id)
		out = append(out, frameOf(t, ethernet(ip6), inner6(44), raw(h...), raw(body[from:to]...)))
	}
	return out
}

// feed parses frames and returns the payloads of the packets there were.
func feed(p *Parser, at time.Time, frames ...[]byte) (payloads []string) {
	var to Packet
	for _, f := range frames {
		if p.Parse(linkEthernet, at, f, len(f), &to) {
			payloads = append(payloads, string(to.Payload))
		}
	}
	return payloads
}

func TestFragments(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789"), 100)
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, version := range []int{4, 6} {
		for size := 8; size < 1100; size += 8 {
			list := parts(t, version, size, 1, payload)
			list = append(list, list[:len(list)-1]...) // some come twice
			rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			p := NewParser()
			got := feed(p, at, list...)
			if len(got) == 0 || got[0] != string(payload) {
				t.Fatalf("IPv%d in parts of %d bytes: got %d packets, want the payload", version, size, len(got))
			}
			if p.frags.bytes < 0 {
				t.Errorf("IPv%d in parts of %d bytes: got %d bytes held", version, size, p.frags.bytes)
			}
		}
	}
}

func TestFragmentsMixed(t *testing.T) {
	one, two := parts(t, 4, 16, 1, bytes.Repeat([]byte("a"), 30)), parts(t, 4, 16, 2, bytes.Repeat([]byte("b"), 30))
	got := feed(NewParser(), at, one[0], two[2], two[0], one[2], two[1], one[1])
	if diff := cmp.Diff([]string{string(bytes.Repeat([]byte("b"), 30)), string(bytes.Repeat([]byte("a"), 30))}, got); diff != "" {
		t.Errorf("payloads (-want +got):\n%s", diff)
	}
}

// TestFragmentsPart says of each fragment whose it is: ports are known from the
// packet's first on.
func TestFragmentsPart(t *testing.T) {
	for _, version := range []int{4, 6} {
		list := parts(t, version, 16, 1, make([]byte, 60))
		p := NewParser()
		for _, c := range []struct{ part, port int }{{1, 0}, {0, 1000}, {2, 1000}, {3, 1000}} {
			var got Packet
			if p.Parse(linkEthernet, at, list[c.part], len(list[c.part]), &got) {
				t.Fatalf("IPv%d: got a packet of %d fragments", version, len(list)-1)
			}
			if got.Proto != 17 || int(got.Src.Port()) != c.port || !got.Dst.IsValid() || int(got.Length) != len(list[c.part]) {
				t.Errorf("IPv%d, fragment %d: got %+v, want port %d", version, c.part, got, c.port)
			}
		}
	}
}

// TestFragmentsCut has a capture that cut the second of three fragments.
func TestFragmentsCut(t *testing.T) {
	list := parts(t, 4, 16, 1, bytes.Repeat([]byte("a"), 30))
	p := NewParser()
	var got Packet
	for i, f := range list {
		length := len(f)
		if i == 1 {
			f = f[:14+20+12] // of 16, and padding
		}
		if ok := p.Parse(linkEthernet, at, f, length, &got); ok != (i == 2) {
			t.Fatalf("fragment %d: got a packet: %v", i, ok)
		}
	}
	if len(got.Payload) != 20 || got.Missing != 10 {
		t.Errorf("got %d bytes and %d missing, want 20 and 10", len(got.Payload), got.Missing)
	}
}

func TestFragmentsLost(t *testing.T) {
	lost := func(p *Parser) map[string]uint64 {
		counts := map[string]uint64{}
		for _, l := range p.Lost() {
			counts[l.Reason] += l.Count
		}
		return counts
	}
	small, large := parts(t, 6, 16, 1, make([]byte, 60)), parts(t, 6, 24, 1, make([]byte, 60))
	p := NewParser()
	if got := feed(p, at, small[0], large[0], small[1]); got != nil {
		t.Errorf("overlapping: got %q, want nothing", got)
	}
	if diff := cmp.Diff(map[string]uint64{"overlapping": 1}, lost(p)); diff != "" {
		t.Errorf("overlapping (-want +got):\n%s", diff)
	}

	p = NewParser()
	feed(p, at, small[0])
	feed(p, at.Add(maxFragmentAge+1), small[1:]...)
	if diff := cmp.Diff(map[string]uint64{"expired": 1}, lost(p)); diff != "" {
		t.Errorf("expired (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]record.Lost(nil), p.Lost()); diff != "" {
		t.Errorf("told twice (-want +got):\n%s", diff)
	}

	p = NewParser()
	for id := range 20_000 {
		feed(p, at, parts(t, 4, 1000, uint16(id), make([]byte, 1200))[0])
	}
	if p.frags.bytes > maxFragmentBytes || len(p.frags.byKey) != len(p.frags.order) {
		t.Errorf("got %d bytes of %d packets in a list of %d", p.frags.bytes, len(p.frags.byKey), len(p.frags.order))
	}
	if n := uint64(len(p.frags.order)); lost(p)["full"] != 20_000-n {
		t.Errorf("full: got counts that do not add up with the %d packets held", n)
	}
}
