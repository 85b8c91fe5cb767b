package stream

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/packet"
)

var (
	client = netip.MustParseAddrPort("10.0.0.1:40000")
	server = netip.MustParseAddrPort("10.0.0.2:80")
	start  = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
)

// story is a reader that writes down what it is told.
type story struct {
	text    strings.Builder
	data    [2]bytes.Buffer
	ends    [2]int
	gaps    int
	midways []bool
}

func (s *story) Data(d Dir, b []byte, _ time.Time) {
	fmt.Fprintf(&s.text, "%s%q ", arrow(d), b)
	s.data[d].Write(b)
}

func (s *story) Skip(d Dir, n int, _ time.Time) { fmt.Fprintf(&s.text, "%sskip %d ", arrow(d), n) }

func (s *story) Gap(d Dir, n int, _ time.Time) {
	fmt.Fprintf(&s.text, "%sgap %d ", arrow(d), n)
	s.gaps += n
}

func (s *story) End(d Dir, how End, _ time.Time) {
	fmt.Fprintf(&s.text, "%s%s ", arrow(d), [...]string{"FIN", "RST", "flushed"}[how])
	s.ends[d]++
}

func arrow(d Dir) string { return [...]string{">", "<"}[d] }

// up and down are segments of the usual connection; the number is relative to
// its ISNs, 0 is the SYN and 1 the first byte.
func up(seq uint32, flags uint8, data string) packet.Packet {
	return packet.Packet{
		Time: start, Proto: 6, Src: client, Dst: server, Seq: seq + upISN, Flags: flags, Payload: []byte(data),
	}
}

func down(seq uint32, flags uint8, data string) packet.Packet {
	p := up(0, flags, data)
	p.Src, p.Dst, p.Seq, p.Ack = server, client, seq+downISN, upISN+1
	return p
}

// The numbers wrap in the middle of what is said.
const (
	upISN   = 0xffff_fffc
	downISN = 0xffff_fffe
)

const (
	syn    = packet.SYN
	ack    = packet.ACK
	synAck = packet.SYN | packet.ACK
	fin    = packet.FIN | packet.ACK
	rst    = packet.RST
)

func after(d time.Duration, p packet.Packet) packet.Packet {
	p.Time = start.Add(d)
	return p
}

// play adds packets and returns the story; all connections write into one.
func play(l Limits, packets ...packet.Packet) (*story, *Assembler) {
	s := &story{}
	a := New(l, func(c *Conn) Reader {
		s.midways = append(s.midways, c.Midway)
		return s
	})
	for i := range packets {
		a.Add(&packets[i])
	}
	return s, a
}

func TestStories(t *testing.T) {
	cut := up(1, ack, "he")
	cut.Missing = 3
	unwanted := up(105, ack, "next")
	unwanted.Skipped = 100
	other := up(0, syn, "")
	other.Seq = 77
	other2 := up(0, ack, "new")
	other2.Seq = 78
	for _, c := range []struct {
		name    string
		packets []packet.Packet
		want    string
	}{
		{"both ways and closed", []packet.Packet{
			up(0, syn, ""), down(0, synAck, ""), up(1, ack, "hello"), down(1, ack, "world"), up(6, fin, ""), down(6, fin, "!"),
		}, `>"hello" <"world" >FIN <"!" <FIN`},
		{"sent again", []packet.Packet{up(0, syn, ""), up(0, syn, ""), up(1, ack, "hello"), up(1, ack, "hello"), up(1, ack, "hello!")},
			`>"hello" >"!"`},
		{"out of order", []packet.Packet{up(0, syn, ""), up(7, ack, "c"), up(4, ack, "bbb"), up(1, ack, "aaa")},
			`>"aaa" >"bbb" >"c"`},
		{"overlap: the first bytes win", []packet.Packet{
			up(0, syn, ""), up(3, ack, "CD"), up(2, ack, "bcde"), up(1, ack, "wxyz!?"),
		}, `>"w" >"b" >"CD" >"e" >"?"`},
		{"data in the SYN", []packet.Packet{up(0, syn, "hi"), up(1, ack, "hi"), up(3, ack, "there")}, `>"hi" >"there"`},
		{"midway", []packet.Packet{down(9, ack, "late"), up(5, ack, "question")}, `<"late" >"question"`},
		{"the first SYN is missing", []packet.Packet{down(0, synAck, ""), up(4, ack, "d"), up(1, ack, "abc")}, `>"abc" >"d"`},
		{"an answer before its SYN", []packet.Packet{up(0, syn, ""), down(3, ack, "c"), down(1, ack, "ab"), down(0, synAck, "")},
			`<"ab" <"c"`},
		{"keep-alive", []packet.Packet{up(0, syn, ""), up(1, ack, "a"), up(1, ack, "\x00"), up(1, ack, ""), up(2, ack, "b")},
			`>"a" >"b"`},
		{"reset", []packet.Packet{up(0, syn, ""), up(1, ack, "a"), down(0, rst|ack, "why"), up(2, ack, "b")}, `>"a" <RST >RST`},
		{"reset from nowhere", []packet.Packet{up(0, syn, ""), up(1, ack, "a"), up(1<<30, rst, ""), up(2, ack, "b")}, `>"a" >"b"`},
		{"FIN before the rest", []packet.Packet{up(0, syn, ""), up(3, fin, "c"), up(1, ack, "ab"), up(4, ack, "more")},
			`>"ab" >"c" >FIN`},
		{"cut by the capture", []packet.Packet{up(0, syn, ""), cut, up(6, ack, "!")}, `>"he" >gap 3 >"!"`},
		{"unwanted", []packet.Packet{up(0, syn, ""), up(1, ack, "head"), unwanted, down(0, synAck, ""), down(1, ack, "answer")},
			`>"head" >skip 100 >"next" <"answer"`},
		{"the same ports anew", []packet.Packet{up(0, syn, ""), up(1, ack, "old"), other, other2},
			`>"old" >flushed <flushed >"new"`},
		{"late data of a closed one", []packet.Packet{
			up(0, syn, ""), up(1, ack, "a"), up(2, fin, ""), down(0, synAck, ""), down(1, fin, ""), up(1, ack, "a"),
		}, `>"a" >FIN <FIN`},
		{"a refused one", []packet.Packet{up(0, syn, ""), down(0, rst|ack, "")}, `<RST >RST`},
		{"no bytes, nobody to tell", []packet.Packet{up(4, ack, ""), up(4, fin, ""), down(4, rst, "")}, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := play(Limits{}, c.packets...)
			if got := strings.TrimSpace(s.text.String()); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestWhoIsTheClient(t *testing.T) {
	swapped := netip.AddrPortFrom(server.Addr(), 50000)
	for _, c := range []struct {
		name           string
		src, dst       netip.AddrPort
		flags          uint8
		client, server netip.AddrPort
		midway         bool
	}{
		{"SYN", server, client, syn, server, client, false},
		{"SYN and ACK", server, client, synAck, client, server, false},
		{"request midway", client, server, ack, client, server, true},
		{"answer midway", server, client, ack, client, server, true},
		{"same ports", client, netip.AddrPortFrom(server.Addr(), client.Port()), ack,
			client, netip.AddrPortFrom(server.Addr(), client.Port()), true},
		{"two high ports", swapped, client, ack, swapped, client, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got *Conn
			a := New(Limits{}, func(c *Conn) Reader { got = c; return nil })
			a.Add(&packet.Packet{Proto: 6, Src: c.src, Dst: c.dst, Flags: c.flags, Payload: []byte("x"), VLAN: []uint16{7, 8}, Interface: "eth0"})
			want := &Conn{Client: c.client, Server: c.server, Midway: c.midway, VLAN: []uint16{7, 8}, Interface: "eth0"}
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("connection (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	hole := up(3, ack, "ccc") // waits for two bytes
	second := up(9, ack, "iii")
	for _, c := range []struct {
		name    string
		limits  Limits
		packets []packet.Packet
		want    string
		lost    string
	}{
		{"bytes", Limits{Bytes: 5}, []packet.Packet{hole, second}, `>gap 2 >"ccc"`, "missing bytes, too many waited behind them: 2"},
		{"segments", Limits{Segments: 1}, []packet.Packet{hole, second}, `>gap 2 >"ccc"`,
			"missing bytes, too many segments waited behind them: 2"},
		{"memory", Limits{Memory: 10}, []packet.Packet{hole, second}, `>gap 2 >"ccc" >gap 3 >"iii"`,
			"missing bytes, no memory to wait for them: 5"},
		{"time", Limits{Wait: time.Second}, []packet.Packet{hole, after(2*time.Second, up(1, ack, ""))}, `>gap 2 >"ccc"`,
			"missing bytes, waited for too long: 2"},
		{"an answer whose SYN never came", Limits{Wait: time.Second},
			[]packet.Packet{down(5, ack, "eee"), after(2*time.Second, down(8, ack, "hhh"))}, `<gap 0 <"eee" <"hhh"`, ""},
		{"impossible", Limits{}, []packet.Packet{up(1<<31, ack, "x"), up(1, ack, "a")}, `>"a"`,
			"segments with impossible sequence numbers: 1"},
		{"closed before it came", Limits{}, []packet.Packet{hole, up(9, fin, ""), down(1, rst, "")},
			`<RST >gap 2 >"ccc" >gap 3 >FIN`, "missing bytes: 5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, a := play(c.limits, append([]packet.Packet{up(0, syn, "")}, c.packets...)...)
			if got := strings.TrimSpace(s.text.String()); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
			var lost []string
			for _, l := range a.Lost() {
				lost = append(lost, fmt.Sprintf("%s: %d", l.Reason, l.Count))
			}
			if got := strings.Join(lost, "; "); got != c.lost {
				t.Errorf("lost: got %q, want %q", got, c.lost)
			}
			if again := a.Lost(); again != nil {
				t.Errorf("lost twice: %v", again)
			}
			a.Flush(time.Time{})
			if a.waiting != 0 || len(a.conns) != 0 || a.live.len+a.closed.len != 0 {
				t.Errorf("after Flush %d bytes wait, %d connections, want none", a.waiting, len(a.conns))
			}
			if s.ends != [2]int{1, 1} {
				t.Errorf("ends: got %v, want one for each direction", s.ends)
			}
		})
	}
}

func TestIdleAndEvicted(t *testing.T) {
	from := func(port uint16, at time.Duration) packet.Packet {
		p := after(at, up(1, ack, "x"))
		p.Src = netip.AddrPortFrom(client.Addr(), port)
		return p
	}
	s, a := play(Limits{Conns: 2, Idle: time.Minute},
		from(1001, 0), from(1002, 0), from(1001, time.Second), from(1003, 2*time.Second))
	if got, want := s.ends, [2]int{1, 1}; got != want {
		t.Errorf("ends after the third of two connections: got %v, want %v", got, want)
	}
	if lost := a.Lost(); len(lost) != 1 || lost[0].Count != 1 || lost[0].Place != "tcp_streams" {
		t.Errorf("lost: got %v, want one evicted connection", lost)
	}
	late := from(1003, 62*time.Second)
	a.Add(&late)
	if got := len(a.conns); got != 1 {
		t.Errorf("connections after a minute of silence: got %d, want 1", got)
	}
	a.Flush(late.Time)
	if got := len(a.conns); got != 1 {
		t.Errorf("connections after a flush of older ones: got %d, want 1", got)
	}
	a.Flush(late.Time.Add(1))
	if got := len(a.conns); got != 0 {
		t.Errorf("connections after a flush: got %d, want 0", got)
	}
	if lost := a.Lost(); lost != nil {
		t.Errorf("silence lost %v, want nothing", lost)
	}
}
