// Package wire plays captures into an interface and holds what is read there
// against what is read from the file.
package wire

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"go.uber.org/goleak"

	"github.com/netfate/netfate/internal/capture"
	"github.com/netfate/netfate/internal/dns"
	"github.com/netfate/netfate/internal/http"
	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/quic"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	protoTCP = 6
	protoUDP = 17

	// lastPort is where the last frame that is played goes to.
	lastPort = 9
)

var begin = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

// ears is a decoder that notes every packet of TCP and UDP, and what dns, http and
// quic make of them. Its clock goes on by a millisecond a packet, so that rows do not
// depend on when a packet came.
type ears struct {
	decoders []capture.Decoder
	packets  int
	rows     []string
	lost     map[string]uint64
	last     func() // called at the last packet
}

func newEars(last func()) *ears {
	return &ears{decoders: []capture.Decoder{dns.New(dns.Config{}), http.New(http.Config{Secrets: true}), quic.New(quic.Config{})}, lost: map[string]uint64{}, last: last}
}

func (e *ears) now() time.Time { return begin.Add(time.Duration(e.packets) * time.Millisecond) }

func (e *ears) Packet(p *packet.Packet) {
	if p.Proto != protoTCP && p.Proto != protoUDP {
		return
	}
	if p.Dst.Port() == lastPort {
		e.last()
		return
	}
	e.packets++
	p.Time, p.Interface = e.now(), ""
	e.rows = append(e.rows, fmt.Sprintf("packet %d of %d: %v > %v, seq %d, flags %x, vlan %v in %v, %d bytes, payload of %d (%x) and %d",
		e.packets, p.Proto, p.Src, p.Dst, p.Seq, p.Flags, p.VLAN, p.Tunnels, p.Length, len(p.Payload), crc32.ChecksumIEEE(p.Payload), p.Missing))
	for _, d := range e.decoders {
		d.Packet(p)
	}
}

func (e *ears) Roll(_ time.Time, end bool, b *record.Batch) {
	if !end {
		return // what is finished is told at the end; the decoders hold as much
	}
	for _, d := range e.decoders {
		d.Roll(e.now(), end, b)
	}
	for i := range b.Queries {
		e.rows = append(e.rows, "query "+string(record.AppendJSON(nil, record.Fields(record.Query{}), &b.Queries[i], true)))
	}
	for i := range b.Requests {
		e.rows = append(e.rows, "request "+string(record.AppendJSON(nil, record.Fields(record.Request{}), &b.Requests[i], true)))
	}
}

// drain reads a source to its end.
func (e *ears) drain(t *testing.T, s *capture.Source) {
	t.Helper()
	for {
		b, err := s.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range b.Lost {
			e.lost[l.Place+" "+l.Reason] += l.Count
		}
	}
}

func readFile(t *testing.T, path, expr string) *ears {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	e := newEars(func() {})
	s, err := capture.Open(file, e)
	if err != nil {
		t.Fatal(err)
	}
	s.Select(filterOf(t, expr))
	e.drain(t, s)
	return e
}

func filterOf(t *testing.T, expr string) *capture.Filter {
	t.Helper()
	if expr == "" {
		return nil
	}
	f, err := capture.NewFilter(t.Context(), expr)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// cable is two ends of a wire: what one sends the other receives.
type cable struct{ out, in *netlab.NetNS }

const (
	outName = "out0"
	inName  = "in0"
	mtu     = 65535
)

func newCable(t *testing.T) cable {
	t.Helper()
	lab := netlab.New(t)
	c := cable{lab.NetNS("out"), lab.NetNS("in")}
	lab.Veth(c.out, outName, c.in, inName)
	c.out.MTU(outName, mtu)
	c.in.MTU(inName, mtu)
	c.out.Up(outName)
	c.in.Up(inName)
	return c
}

// listen opens the receiving end.
func (c *cable) listen(ctx context.Context, t *testing.T, expr string, d ...capture.Decoder) *capture.Source {
	t.Helper()
	s, err := capture.Listen(ctx, capture.Live{Interface: inName, NetNS: c.in.Path(), Interval: 100 * time.Millisecond, Filter: filterOf(t, expr)}, d...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// play returns what the receiving end hears of a file.
func (c *cable) play(t *testing.T, path, expr string) *ears {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e := newEars(cancel)
	s := c.listen(ctx, t, expr, e)
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		e.drain(t, s)
	}()
	// On one CPU, so that the frames stay in order.
	c.out.Exec("taskset", "-c", "0", "tcpreplay", "-q", "--pps=3000", "-i", outName, path)
	<-heard
	return e
}

// TestPlayed plays every public capture and one of what they lack: the packets of TCP
// and UDP, the queries and the requests are those of the file, to the byte. What of
// a file cannot be played is in testdata/unplayable.tsv with the reason.
func TestPlayed(t *testing.T) {
	need.Root(t)
	need.Time(t)
	files, err := filepath.Glob(filepath.Join(need.Captures(t), "*.pcap"))
	if err != nil || len(files) < 50 {
		t.Fatalf("got %d captures, %v", len(files), err)
	}
	c, dir := newCable(t), t.TempDir()
	var unplayable []string
	packets, others := 0, 0
	for _, file := range append(files, writeOdd(t, filepath.Join(dir, "odd.pcap"))) {
		name := filepath.Base(file)
		played := filepath.Join(dir, "played-"+name)
		for _, why := range asPlayed(t, file, played) {
			unplayable = append(unplayable, name+"\t"+why)
		}
		want, got := readFile(t, played, ""), c.play(t, played, "")
		if diff := cmp.Diff(want.rows, got.rows); diff != "" {
			t.Errorf("%s (-file +interface):\n%s", name, diff)
		}
		if diff := cmp.Diff(want.lost, got.lost); diff != "" {
			t.Errorf("%s: lost (-file +interface):\n%s", name, diff)
		}
		packets += want.packets
		others += len(want.rows) - want.packets
	}
	t.Logf("%d packets, %d queries and requests", packets, others)
	if packets < 1000 || others < 100 {
		t.Errorf("got %d packets, %d queries and requests", packets, others)
	}
	text, err := os.ReadFile(filepath.Join("testdata", "unplayable.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "\n") // the head
	if diff := cmp.Diff(strings.TrimSpace(list), strings.Join(unplayable, "\n")); diff != "" {
		t.Errorf("what cannot be played (-argued +found):\n%s", diff)
	}
}

// asPlayed writes a capture as tcpreplay plays it, with a last frame behind it. It
// returns what it left out or changed, a line for each reason.
func asPlayed(t *testing.T, from, to string) (changes []string) {
	t.Helper()
	frames, link := framesOf(t, from)
	if link != layers.LinkTypeEthernet {
		t.Fatalf("%s: is of link type %d, which cannot be played", from, link)
	}
	counts := map[string]int{}
	var kept [][]byte
	for _, f := range frames {
		switch n := len(f.bytes); {
		case n < 14:
			counts["shorter than Ethernet's header: the kernel refuses to send it"]++
			continue
		case n > mtu+14:
			counts["longer than any MTU: the kernel refuses to send it"]++
			continue
		case n < f.length:
			counts["cut by who captured: what is missing is not sent"]++
		}
		kept = append(kept, f.bytes)
	}
	write(t, to, append(kept, lastFrame()))
	for why, n := range counts {
		changes = append(changes, fmt.Sprintf("%d\t%s", n, why))
	}
	slices.Sort(changes)
	return changes
}

type captured struct {
	bytes  []byte
	length int
}

func framesOf(t *testing.T, path string) (list []captured, link layers.LinkType) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var r interface {
		gopacket.PacketDataSource
		LinkType() layers.LinkType
	}
	if r, err = pcapgo.NewReader(file); err != nil {
		if _, err = file.Seek(0, io.SeekStart); err == nil {
			r, err = pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions)
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for {
		b, info, err := r.ReadPacketData()
		if err != nil {
			return list, r.LinkType()
		}
		list = append(list, captured{b, info.Length})
	}
}

func write(t *testing.T, path string, frames [][]byte) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := pcapgo.NewWriterNanos(file)
	err = w.WriteFileHeader(1<<18, layers.LinkTypeEthernet)
	for i, b := range frames {
		if err == nil {
			at := begin.Add(time.Duration(i) * time.Millisecond)
			err = w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(b), Length: len(b)}, b)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}
