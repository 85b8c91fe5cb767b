package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/netfate/netfate/internal/flows"
	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
)

var begin = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

// datagram is a UDP datagram in a packet of IPv4.
func datagram(text string) []byte {
	b := append(make([]byte, 28), text...)
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	binary.BigEndian.PutUint16(b[20:], 1000)
	binary.BigEndian.PutUint16(b[22:], 2000)
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(text)))
	return b
}

// inEthernet is the same in a frame.
func inEthernet(text string) []byte { return append(append(make([]byte, 12), 8, 0), datagram(text)...) }

// one is a packet to be written.
type one struct {
	after time.Duration
	text  string
}

func info(p one, b []byte) gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: begin.Add(p.after), CaptureLength: len(b), Length: len(b)}
}

// pcapOf writes packets by hand, in any byte order.
func pcapOf(order binary.AppendByteOrder, nanos bool, list ...one) []byte {
	number, unit := uint32(0xa1b2c3d4), time.Microsecond
	if nanos {
		number, unit = 0xa1b23c4d, time.Nanosecond
	}
	b := order.AppendUint32(nil, number)
	b = order.AppendUint16(order.AppendUint16(b, 2), 4)
	for _, v := range []uint32{0, 0, 65535, 1} {
		b = order.AppendUint32(b, v)
	}
	for _, p := range list {
		f, at := inEthernet(p.text), begin.Add(p.after)
		for _, v := range []uint32{uint32(at.Unix()), uint32(at.Nanosecond() / int(unit)), uint32(len(f)), uint32(len(f))} {
			b = order.AppendUint32(b, v)
		}
		b = append(b, f...)
	}
	return b
}

// pcapngOf writes each packet by an interface of its own kind, in turn, and says
// at the end that the first interface dropped seven.
func pcapngOf(t testing.TB, list ...one) []byte {
	t.Helper()
	var file bytes.Buffer
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := pcapgo.NewNgWriterInterface(&file, pcapgo.NgInterface{Name: "eth0", LinkType: layers.LinkTypeEthernet, TimestampResolution: 9}, pcapgo.NgWriterOptions{})
	check(err)
	_, err = w.AddInterface(pcapgo.NgInterface{Name: "tun0", LinkType: layers.LinkTypeRaw, TimestampResolution: 6})
	check(err)
	_, err = w.AddInterface(pcapgo.NgInterface{Name: "wlan0", LinkType: layers.LinkTypeIEEE802_11, TimestampResolution: 6})
	check(err)
	for i, p := range list {
		b := [][]byte{inEthernet(p.text), datagram(p.text), make([]byte, 60)}[i%3]
		ci := info(p, b)
		ci.InterfaceIndex = i % 3
		check(w.WritePacket(ci, b))
	}
	check(w.WriteInterfaceStats(0, pcapgo.NgInterfaceStatistics{LastUpdate: begin, PacketsReceived: pcapgo.NgNoValue64, PacketsDropped: 7}))
	check(w.Flush())
	return file.Bytes()
}

// texts is a decoder that notes what it is given.
type texts struct {
	got  []string
	now  time.Time
	last bool
}

func (d *texts) Packet(p *packet.Packet) {
	line := p.Time.Sub(begin).String() + " " + string(p.Payload)
	if p.Interface != "" {
		line += " at " + p.Interface
	}
	d.got = append(d.got, line)
}

func (d *texts) Roll(now time.Time, end bool, b *record.Batch) {
	d.now, d.last = now, end
	for _, s := range d.got {
		b.Queries = append(b.Queries, record.Query{QName: s})
	}
	d.got = nil
}

// read returns one line a batch.
func read(t testing.TB, file []byte) (lines []string, s *Source) {
	t.Helper()
	d := &texts{}
	s, err := Open(bytes.NewReader(file), d)
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, err := s.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if d.now != b.End {
			t.Errorf("got rolled at %v, want %v", d.now, b.End)
		}
		line := b.Start.Sub(begin).String() + " to " + b.End.Sub(begin).String()
		for _, q := range b.Queries {
			line += ", " + q.QName
		}
		for _, l := range b.Lost {
			line += "; lost " + l.Place + " " + l.Reason
		}
		lines = append(lines, line)
	}
	if len(lines) > 0 && !d.last {
		t.Error("the decoder was not told of the end")
	}
	return lines, s
}

func packets() []one {
	return []one{{0, "a"}, {1234567 * time.Nanosecond, "b"}, {999 * time.Millisecond, "c"}, {time.Second, "d"}, {900 * time.Millisecond, "late"}, {9500 * time.Millisecond, "e"}}
}

func TestBatches(t *testing.T) {
	want := func(b string) []string {
		return []string{"0s to 1s, 0s a, " + b + " b, 999ms c", "1s to 2s, 1s d, 900ms late", "2s to 10s, 9.5s e"}
	}
	for name, c := range map[string]struct {
		file []byte
		b    string
	}{
		"little end":             {pcapOf(binary.LittleEndian, false, packets()...), "1.234ms"},
		"big end":                {pcapOf(binary.BigEndian, false, packets()...), "1.234ms"},
		"little end nanoseconds": {pcapOf(binary.LittleEndian, true, packets()...), "1.234567ms"},
		"big end nanoseconds":    {pcapOf(binary.BigEndian, true, packets()...), "1.234567ms"},
	} {
		got, s := read(t, c.file)
		if diff := cmp.Diff(want(c.b), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if s.Note() != "" || s.Packets() != 6 {
			t.Errorf("%s: got %d packets and the note %q", name, s.Packets(), s.Note())
		}
	}
	got, _ := read(t, pcapngOf(t, packets()...))
	if diff := cmp.Diff([]string{
		"0s to 1s, 0s a at eth0, 1.234567ms b at tun0; lost capture link type 105", "1s to 2s, 1s d at eth0, 900ms late at tun0", "2s to 10s; lost capture link type 105; lost capture dropped",
	}, got); diff != "" {
		t.Errorf("pcapng (-want +got):\n%s", diff)
	}
}

// TestBigEndianPCAPNG has a file by hand: our writer writes little ends only. Its
// interface says nothing of time, which makes it microseconds.
func TestBigEndianPCAPNG(t *testing.T) {
	order := binary.BigEndian
	block := func(kind uint32, body []byte) []byte {
		body = append(body, make([]byte, -len(body)&3)...)
		b := order.AppendUint32(order.AppendUint32(nil, kind), uint32(12+len(body)))
		return order.AppendUint32(append(b, body...), uint32(12+len(body)))
	}
	frame, at := inEthernet("hello"), uint64(begin.Add(1500*time.Microsecond).UnixMicro())
	head := []byte{0, 0, 0, 0}
	for _, v := range []uint32{uint32(at >> 32), uint32(at), uint32(len(frame)), uint32(len(frame))} {
		head = order.AppendUint32(head, v)
	}
	file := block(0x0a0d0d0a, []byte{0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255})
	file = append(file, block(1, []byte{0, 1, 0, 0, 0, 0, 0, 0})...)
	file = append(file, block(6, append(head, frame...))...)
	got, _ := read(t, file)
	if diff := cmp.Diff([]string{"0s to 1s, 1.5ms hello"}, got); diff != "" {
		t.Errorf("batches (-want +got):\n%s", diff)
	}
}

// TestBack has two captures one behind the other, the later first.
func TestBack(t *testing.T) {
	got, _ := read(t, pcapOf(binary.LittleEndian, false, one{time.Hour, "a"}, one{0, "b"}, one{time.Second, "c"}))
	if diff := cmp.Diff([]string{"1h0m0s to 1h0m1s, 1h0m0s a", "0s to 1s, 0s b", "1s to 2s, 1s c"}, got); diff != "" {
		t.Errorf("batches (-want +got):\n%s", diff)
	}
}

// TestStill has a clock that stands: memory is bounded all the same.
func TestStill(t *testing.T) {
	list := make([]one, 110)
	d := &texts{}
	s, err := Open(bytes.NewReader(pcapOf(binary.LittleEndian, false, list...)), d)
	if err != nil {
		t.Fatal(err)
	}
	s.most = 100
	for _, want := range []int{100, 10} {
		b, err := s.Next()
		if err != nil || len(b.Queries) != want {
			t.Fatalf("got %d packets in a batch and %v, want %d", len(b.Queries), err, want)
		}
	}
}

// TestCut cuts files at every byte: what was whole is given.
func TestCut(t *testing.T) {
	for name, file := range map[string][]byte{
		"pcap": pcapOf(binary.BigEndian, true, packets()...), "pcapng": pcapngOf(t, packets()...),
	} {
		before, notes := 0, 0
		for n := range len(file) {
			s, err := Open(bytes.NewReader(file[:n]), &texts{})
			if err != nil {
				if !errors.Is(err, ErrNotCapture) {
					t.Errorf("%s, %d bytes: got %v", name, n, err)
				}
				continue
			}
			for err == nil {
				_, err = s.Next()
			}
			if !errors.Is(err, io.EOF) {
				t.Errorf("%s, %d bytes: got %v, want the end", name, n, err)
			}
			if got := int(s.Packets()); got < before || got > before+1 {
				t.Errorf("%s, %d bytes: got %d packets, and %d with a byte less", name, n, got, before)
			}
			before = int(s.Packets())
			if strings.Contains(s.Note(), "cut off") {
				notes++
			}
		}
		if before < 5 || notes < len(file)/2 {
			t.Errorf("%s: got %d packets at last, and %d notes of %d bytes", name, before, notes, len(file))
		}
	}
}

func TestDamage(t *testing.T) {
	file := pcapOf(binary.LittleEndian, false, one{0, "a"}, one{0, "b"})
	file[24+16+len(inEthernet("a"))+11] = 0x7f // length of the second
	s, err := Open(bytes.NewReader(file), &texts{})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := s.Next(); err != nil || len(b.Queries) != 1 {
		t.Fatalf("got %v and %v, want the first packet", b, err)
	}
	if _, err := s.Next(); err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "after packet 1") {
		t.Errorf("got %v, want where the damage is", err)
	}
}

func TestNotCapture(t *testing.T) {
	for _, s := range []string{"", "x", "\x0a\x0d\x0d\x0a", "{\"netfate\":1}", "\x28\xb5\x2f\xfd"} {
		if _, err := Open(strings.NewReader(s)); !errors.Is(err, ErrNotCapture) {
			t.Errorf("%q: got %v, want ErrNotCapture", s, err)
		}
		if Is([]byte(s)) {
			t.Errorf("%q: got taken for a capture", s)
		}
	}
	if !Is(pcapngOf(t)[:12]) || !Is(pcapOf(binary.BigEndian, true)[:4]) {
		t.Error("got a capture taken for none")
	}
}

func FuzzSource(f *testing.F) {
	f.Add(pcapOf(binary.LittleEndian, false, packets()...))
	f.Add(pcapOf(binary.BigEndian, true, packets()...))
	f.Add(pcapngOf(f, packets()...))
	f.Fuzz(func(t *testing.T, file []byte) {
		s, err := Open(bytes.NewReader(file), &texts{}, flows.New())
		if err != nil {
			return
		}
		counted := uint64(0)
		for range len(file) + 2 {
			b, err := s.Next()
			if err != nil {
				if counted != s.Packets() {
					t.Errorf("got %d packets in flows, want %d", counted, s.Packets())
				}
				return
			}
			for _, f := range b.Flows {
				counted += f.HostPackets
			}
			if b.End.Before(b.Start) {
				t.Errorf("got a batch from %v to %v", b.Start, b.End)
			}
		}
		t.Error("got more batches than bytes")
	})
}
