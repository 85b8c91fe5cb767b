package http

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
)

var start = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// talk makes the packets of one connection: each packet is a millisecond behind
// the one before.
type talk struct {
	packets []packet.Packet
	seq     [2]uint32
	size    int // of segments; 0 is one for each text
	now     time.Time
}

func newTalk(size int) *talk {
	k := &talk{size: size, now: start}
	k.packet(asks, packet.SYN, "")
	k.packet(answers, packet.SYN|packet.ACK, "")
	return k
}

// midwayTalk has no SYN.
func midwayTalk() *talk { return &talk{now: start, seq: [2]uint32{77, 99}} }

func (k *talk) packet(side int, flags uint8, data string) {
	ends := [2]netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:8080")}
	k.packets = append(k.packets, packet.Packet{
		Time: k.now, Proto: 6, Src: ends[side], Dst: ends[1-side], Flags: flags, Payload: []byte(data),
		Seq: k.seq[side], Ack: k.seq[1-side],
	})
	k.seq[side] += uint32(len(data))
	if flags&(packet.SYN|packet.FIN) != 0 {
		k.seq[side]++
	}
	k.now = k.now.Add(time.Millisecond)
}

// say sends what a side says.
func (k *talk) say(side int, text string) *talk {
	for len(text) > 0 {
		n := len(text)
		if k.size > 0 {
			n = min(n, k.size)
		}
		k.packet(side, packet.ACK, text[:n])
		text = text[n:]
	}
	return k
}

// skip says something of which the sensor tells the length only, with the next
// packet, which has to be of the same side.
func (k *talk) skip(side int, text string) *talk {
	k.seq[side] += uint32(len(text))
	k.packet(side, packet.ACK, "")
	k.packets[len(k.packets)-1].Skipped = len(text)
	return k
}

// lose says something that the capture has not.
func (k *talk) lose(side int, text string) *talk {
	k.seq[side] += uint32(len(text))
	return k
}

func (k *talk) ask(text string) *talk    { return k.say(asks, text) }
func (k *talk) answer(text string) *talk { return k.say(answers, text) }

// close ends both directions, the server's first.
func (k *talk) close() *talk {
	k.packet(answers, packet.FIN|packet.ACK, "")
	k.packet(asks, packet.FIN|packet.ACK, "")
	return k
}

func (k *talk) abort() *talk {
	k.packet(answers, packet.RST, "")
	return k
}

// track reads packets to the end.
func track(cfg Config, packets []packet.Packet) *record.Batch {
	t := New(cfg)
	for i := range packets {
		t.Packet(&packets[i])
	}
	var b record.Batch
	t.Roll(start.Add(time.Hour), true, &b)
	return &b
}

// told is a batch in lines: protocol, method, host, path, status, sizes, error, trace.
func told(b *record.Batch) string {
	var s strings.Builder
	for _, r := range b.Requests {
		fmt.Fprintf(&s, "%s %s %s%s", r.Protocol, r.Method, r.HostName, r.Path)
		if r.QueryString != "" {
			s.WriteString("?" + r.QueryString)
		}
		fmt.Fprintf(&s, " %d up %d down %d", r.Status, r.RequestBytes, r.ResponseBytes)
		if r.Error != "" {
			s.WriteString(" " + r.Error)
		}
		if r.TraceID != "" || r.ParentID != "" {
			s.WriteString(" of " + r.TraceID + " by " + r.ParentID)
		}
		s.WriteByte('\n')
	}
	for _, l := range b.Lost {
		fmt.Fprintf(&s, "lost %d %s: %s\n", l.Count, l.Place, l.Reason)
	}
	return s.String()
}

// checkTold compares what a talk tells, after its parts joined by newlines.
func checkTold(t *testing.T, cfg Config, k *talk, want ...string) {
	t.Helper()
	text := ""
	for _, w := range want {
		text += w + "\n"
	}
	if got := told(track(cfg, k.packets)); got != text {
		t.Errorf("got\n%swant\n%s", got, text)
	}
}
