package stream

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/packet"
)

// said returns n bytes that are nowhere alike.
func said(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// segments cuts what one side says into segments, some of which overlap and
// come again, with the FIN on the last.
func segments(r *rand.Rand, text []byte, from func(uint32, uint8, string) packet.Packet) []packet.Packet {
	var out []packet.Packet
	for at := 0; at < len(text); {
		n := min(1+r.IntN(40), len(text)-at)
		first := max(0, at-r.IntN(8)) // sent again, cut elsewhere
		flags := uint8(ack)
		if at+n == len(text) {
			flags = fin
		}
		for range 1 + r.IntN(8)/6 {
			out = append(out, from(uint32(first)+1, flags, string(text[first:at+n])))
		}
		at += n
	}
	return out
}

// Any cut, duplicate and order of two streams gives the same bytes; only that
// the opener's SYN is the first packet of all.
func TestAnyOrder(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		question, answer := said(r, 1+r.IntN(2000)), said(r, 1+r.IntN(2000))
		rest := append(segments(r, question, up), segments(r, answer, down)...)
		rest = append(rest, down(0, synAck, ""), up(0, syn, ""))
		r.Shuffle(len(rest), func(i, k int) { rest[i], rest[k] = rest[k], rest[i] })
		s, a := play(Limits{}, append([]packet.Packet{up(0, syn, "")}, rest...)...)
		if !bytes.Equal(s.data[Up].Bytes(), question) || !bytes.Equal(s.data[Down].Bytes(), answer) {
			t.Fatalf("seed %d: got %d and %d bytes, want the %d and %d that were said", seed,
				s.data[Up].Len(), s.data[Down].Len(), len(question), len(answer))
		}
		if s.ends != [2]int{1, 1} || s.gaps != 0 || len(s.midways) != 1 || a.waiting != 0 || a.Lost() != nil {
			t.Fatalf("seed %d: ends %v, %d bytes of gaps, %d connections, %d bytes wait; want 1 and 1, 0, 1, 0",
				seed, s.ends, s.gaps, len(s.midways), a.waiting)
		}
	}
}

// checker compares what comes with what was said, gaps by their length.
type checker struct {
	t    *testing.T
	text []byte
	at   [2]int
	ends [2]int
}

func (c *checker) Data(d Dir, b []byte, _ time.Time) {
	if c.ends[d] > 0 || len(b) == 0 {
		c.t.Fatalf("%d bytes after %d ends", len(b), c.ends[d])
	}
	if c.at[d]+len(b) > len(c.text) || !bytes.Equal(b, c.text[c.at[d]:][:len(b)]) {
		c.t.Fatalf("at byte %d of direction %d: got %q, want what was said there", c.at[d], d, b)
	}
	c.at[d] += len(b)
}

func (c *checker) Skip(d Dir, n int, at time.Time) { c.Gap(d, n, at) }

func (c *checker) Gap(d Dir, n int, _ time.Time) {
	if c.ends[d] > 0 || n <= 0 {
		c.t.Fatalf("a gap of %d bytes after %d ends", n, c.ends[d])
	}
	c.at[d] += n
}

func (c *checker) End(d Dir, _ End, _ time.Time) { c.ends[d]++ }

// FuzzOrder plays segments that the input chooses, within narrow bounds: four
// bytes each are the place, the length, what it is, and the time since the last.
func FuzzOrder(f *testing.F) {
	f.Add([]byte{10, 5, 0, 0, 0, 10, 0, 0, 30, 9, 1, 0, 0, 0, 2, 0})
	f.Add([]byte{200, 90, 8, 255, 100, 90, 1, 255, 0, 90, 1, 0, 255, 255, 24, 1})
	text := said(rand.New(rand.NewPCG(1, 2)), 600)
	f.Fuzz(func(t *testing.T, in []byte) {
		c := &checker{t: t, text: text}
		opened := 0
		a := New(Limits{Bytes: 200, Segments: 4, Memory: 1200, Wait: time.Second}, func(*Conn) Reader {
			opened++
			return c
		})
		first, second := up(0, syn, ""), down(0, synAck, "")
		a.Add(&first)
		a.Add(&second)
		now := start
		for ; len(in) >= 4; in = in[4:] {
			at, n, what := int(in[0]), int(in[1]), in[2]
			side := up
			if what&1 != 0 {
				side = down
			}
			p := side(uint32(at)+1, ack, string(text[at:at+n]))
			if what&2 != 0 {
				p.Payload, p.Missing = p.Payload[:n/2], n-n/2
			}
			if what&0x1c == 0x1c {
				p.Flags |= packet.FIN
			}
			if what&0xe0 == 0xe0 {
				p.Flags |= packet.RST
			}
			now = now.Add(time.Duration(in[3]) * time.Millisecond)
			p.Time = now
			a.Add(&p)
			if a.waiting > 1200 {
				t.Fatalf("%d bytes wait, want at most 1200", a.waiting)
			}
		}
		a.Flush(time.Time{})
		if opened != 1 || c.ends != [2]int{1, 1} || a.waiting != 0 {
			t.Fatalf("%d connections, ends %v, %d bytes wait; want 1, one each way, 0", opened, c.ends, a.waiting)
		}
	})
}

// nobody reads and forgets.
type nobody struct{}

func (nobody) Data(Dir, []byte, time.Time) {}
func (nobody) Gap(Dir, int, time.Time)     {}
func (nobody) Skip(Dir, int, time.Time)    {}
func (nobody) End(Dir, End, time.Time)     {}

func TestInOrderAllocatesNothing(t *testing.T) {
	a := New(Limits{}, func(*Conn) Reader { return nobody{} })
	p := up(0, syn, "")
	a.Add(&p)
	p = up(1, ack, "twelve bytes")
	if got := testing.AllocsPerRun(1000, func() {
		a.Add(&p)
		p.Seq += uint32(len(p.Payload))
	}); got != 0 {
		t.Errorf("got %v allocations for a segment in order, want 0", got)
	}
}

// 100,000 connections, each of which waits for a byte: memory stays within
// what the limits say, and what a connection costs is known.
func TestMemoryIsBounded(t *testing.T) {
	const conns, perConn, waiting = 100_000, 640, 16 << 20
	before := heap()
	a := New(Limits{Memory: waiting}, func(*Conn) Reader { return nobody{} })
	data := string(make([]byte, 1400))
	for i := range conns {
		p := up(0, syn, "")
		p.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 16), byte(i >> 8)}), uint16(1024+i&0xff))
		a.Add(&p)
		p.Seq, p.Flags, p.Payload = p.Seq+2, ack, []byte(data)
		a.Add(&p)
	}
	if got := len(a.conns); got != conns {
		t.Fatalf("got %d connections, want %d", got, conns)
	}
	if got := heap() - before; got > conns*perConn+waiting {
		t.Errorf("got %d bytes, want at most %d for each of %d connections and %d that wait", got, perConn, conns, waiting)
	}
	runtime.KeepAlive(a)
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func BenchmarkAdd(b *testing.B) {
	for _, conns := range []int{1, 100_000} {
		b.Run(fmt.Sprintf("%d connections", conns), func(b *testing.B) {
			a := New(Limits{}, func(*Conn) Reader { return nobody{} })
			p := up(1, ack, string(make([]byte, 1400)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				n := i % conns
				p.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 16), byte(n >> 8)}), uint16(1024+n&0xff))
				p.Seq = uint32(i/conns)*1400 + 1
				a.Add(&p)
			}
		})
	}
}
