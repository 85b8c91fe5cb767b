package dns

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/stream"
)

// prefixed is messages as TCP carries them.
func prefixed(messages ...string) []byte {
	var b []byte
	for _, m := range messages {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(m))), m...)
	}
	return b
}

func splitter() (m *messages, got *[]string) {
	got = new([]string)
	m = &messages{held: new(int), deaf: new(uint64), each: func(_ stream.Dir, b []byte, _ time.Time) bool {
		*got = append(*got, string(b))
		return !bytes.HasPrefix(b, []byte("bad"))
	}}
	return m, got
}

// TestMessagesSplit cuts a connection into two at every byte, and into bytes.
func TestMessagesSplit(t *testing.T) {
	want := []string{"one", "", strings.Repeat("two", 1000), "three"}
	b := prefixed(want...)
	for at := range len(b) {
		m, got := splitter()
		m.Data(stream.Up, b[:at], begin)
		m.Data(stream.Up, b[at:], begin)
		m.End(stream.Up, stream.FIN, begin)
		if diff := cmp.Diff(want, *got); diff != "" || *m.held != 0 {
			t.Fatalf("cut at %d, %d bytes held (-want +got):\n%s", at, *m.held, diff)
		}
	}
	m, got := splitter()
	for i := range b {
		m.Data(stream.Down, b[i:i+1], begin)
	}
	if diff := cmp.Diff(want, *got); diff != "" || *m.held != 0 {
		t.Errorf("byte by byte, %d bytes held (-want +got):\n%s", *m.held, diff)
	}
}

func TestMessagesGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		play func(m *messages)
		want []string
		deaf uint64
	}{
		"a gap": {func(m *messages) {
			m.Data(0, prefixed("one", "two")[:8], begin)
			m.Gap(0, 2, begin)
			m.Data(0, prefixed("three"), begin)
		}, []string{"one"}, 1},
		"nonsense":      {func(m *messages) { m.Data(0, prefixed("bad", "two"), begin); m.Data(0, prefixed("three"), begin) }, []string{"bad"}, 1},
		"the other way": {func(m *messages) { m.Gap(0, 0, begin); m.Data(1, prefixed("two"), begin) }, []string{"two"}, 1},
		"too much":      {func(m *messages) { *m.held = maxHeld; m.Data(0, []byte{0, 9, 1}, begin); *m.held -= maxHeld }, nil, 1},
		"the end":       {func(m *messages) { m.Data(0, []byte{0, 9, 1}, begin) }, nil, 0},
	} {
		m, got := splitter()
		c.play(m)
		m.End(0, stream.RST, begin)
		m.End(1, stream.RST, begin)
		if diff := cmp.Diff(c.want, *got, cmp.Transformer("nil", func(s []string) string { return strings.Join(s, ",") })); diff != "" || *m.held != 0 || *m.deaf != c.deaf {
			t.Errorf("%s: %d bytes held, %d directions given up, want 0 and %d (-want +got):\n%s", name, *m.held, *m.deaf, c.deaf, diff)
		}
	}
}

// TestOverTCP has two questions in one connection, the answers in other
// segments than the lengths say, and the first segment of them last.
func TestOverTCP(t *testing.T) {
	from, to := netip.MustParseAddrPort(client), netip.MustParseAddrPort(server)
	seq := map[netip.AddrPort]uint32{}
	segment := func(ms int, src, dst netip.AddrPort, flags uint8, b []byte) *packet.Packet {
		p := &packet.Packet{Time: begin.Add(time.Duration(ms) * time.Millisecond), Proto: protoTCP, Src: src, Dst: dst, Flags: flags, Seq: seq[src], Ack: seq[dst], Payload: b}
		seq[src] += uint32(len(b))
		if flags&(packet.SYN|packet.FIN) != 0 {
			seq[src]++
		}
		return p
	}
	questions := prefixed(string(numbered(1, packed(t, nil, "a.example.com A"))), string(numbered(2, packed(t, nil, "b.example.com A"))))
	answers := prefixed(string(numbered(2, packed(t, nil, "b.example.com A", "b.example.com. 5 A 192.0.2.2"))),
		string(numbered(1, packed(t, nil, "a.example.com A", "a.example.com. 5 A 192.0.2.1"))))
	list := []*packet.Packet{
		segment(0, from, to, packet.SYN, nil), segment(1, to, from, packet.SYN|packet.ACK, nil), segment(2, from, to, packet.ACK, nil),
		segment(3, from, to, packet.ACK, questions[:20]), segment(4, from, to, packet.ACK, questions[20:]),
		segment(7, to, from, packet.ACK, answers[:1]), segment(6, to, from, packet.ACK, answers[1:50]), segment(8, to, from, packet.ACK|packet.FIN, answers[50:]),
	}
	list[5], list[6] = list[6], list[5]
	tr := New(Config{})
	var b record.Batch
	for _, p := range list {
		tr.Packet(p)
	}
	tr.Roll(begin.Add(time.Second), true, &b)
	var got []string
	for i := range b.Queries {
		got = append(got, line(&b.Queries[i]))
	}
	if diff := cmp.Diff([]string{
		"tcp dns 10.0.0.5:40000>10.0.0.53:53 b.example.com A NOERROR 192.0.2.2 ttl 5 after 2ms",
		"tcp dns 10.0.0.5:40000>10.0.0.53:53 a.example.com A NOERROR 192.0.2.1 ttl 5 after 4ms",
	}, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}
