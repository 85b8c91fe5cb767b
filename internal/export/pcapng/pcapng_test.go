package pcapng

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/netfate/netfate/internal/record"
)

// at is when the packets of these tests were seen.
var at = time.Date(2026, 11, 30, 11, 45, 0, 123456789, time.UTC)

// written is what another reader finds of a packet.
type written struct {
	At         time.Time
	Name       string
	Link       layers.LinkType
	Bytes      string
	Length     int
	Direction  pcapgo.NgEpbFlag
	Commentary string
}

// read reads a capture by gopacket's reader: its packets, and the statistics of its
// interfaces by name.
func read(t *testing.T, r io.Reader) (all []written, counts map[string]Count) {
	t.Helper()
	ng, err := pcapgo.NewNgReader(r, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, info, options, err := ng.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("after packet %d: %v", len(all), err)
		}
		i, err := ng.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		w := written{At: info.Timestamp, Name: i.Name, Link: i.LinkType, Bytes: string(b), Length: info.Length, Commentary: strings.Join(options.Comments, "\n")}
		if options.Flags != nil {
			w.Direction = options.Flags.Direction
		}
		all = append(all, w)
	}
	counts = map[string]Count{}
	for n := range ng.NInterfaces() {
		i, err := ng.Interface(n)
		if err != nil {
			t.Fatal(err)
		}
		if s := i.Statistics; s.PacketsReceived != 0 && s.PacketsReceived != pcapgo.NgNoValue64 {
			counts[i.Name] = Count{s.PacketsReceived, s.PacketsDropped}
		}
	}
	return all, counts
}

func TestWriter(t *testing.T) {
	ethernet := Interface{NetNS: 7, NetNSName: "web", Name: "eth0", Link: "ethernet"}
	bare := Interface{NetNS: 7, NetNSName: "web", Name: "eth0", Link: "ip"}
	arp := Interface{NetNS: 8, Name: "tun0", Link: "0x806"}
	packets := []Packet{
		{At: at, Interface: ethernet, Bytes: []byte("a frame"), Length: 1514, Direction: record.Out, Comments: []string{"one", "two"}},
		{At: at.Add(1), Interface: bare, Bytes: []byte("E..."), Length: 4, Direction: record.In},
		{At: at.Add(2), Interface: Interface{}, Bytes: []byte("E"), Length: 9, Direction: record.Forward},
		{At: at.Add(3), Interface: arp, Bytes: []byte("who"), Length: 3, Direction: record.In},
		{At: at.Add(4), Interface: ethernet, Comments: []string{strings.Repeat("long ", 1<<14)}},
	}
	var out bytes.Buffer
	w, err := NewWriter(&out, About{Netfate: "netfate", Snaplen: 256})
	if err != nil {
		t.Fatal(err)
	}
	for i := range packets {
		if err := w.Write(&packets[i]); err != nil {
			t.Fatal(err)
		}
	}
	size := w.Size()
	err = w.Finish(at, at.Add(time.Second), map[Interface]Count{ethernet: {5, 3}, {NetNS: 9, Name: "gone"}: {2, 2}})
	if err != nil {
		t.Fatal(err)
	}
	if stats := int64(out.Len()) - size; stats < 4*56 || w.Size() != int64(out.Len()) {
		t.Errorf("got size %d before and %d after statistics, want %d and them", size, w.Size(), out.Len())
	}
	got, counts := read(t, &out)
	want := []written{
		{at, "web/eth0", layers.LinkTypeEthernet, "a frame", 1514, pcapgo.NgEpbFlagDirectionOutbound, "one\ntwo"},
		{at.Add(1), "web/eth0", layers.LinkTypeRaw, "E...", 4, pcapgo.NgEpbFlagDirectionInbound, ""},
		{at.Add(2), "netfate", layers.LinkTypeRaw, "E", 9, pcapgo.NgEpbFlagDirectionUnknown, ""},
		{at.Add(3), "8/tun0", layers.LinkTypeLinuxSLL, "\x00\x04\xff\xfe\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x06who", 19, pcapgo.NgEpbFlagDirectionInbound, ""},
		{at.Add(4), "web/eth0", layers.LinkTypeEthernet, "", 0, pcapgo.NgEpbFlagDirectionUnknown, strings.Repeat("long ", 1<<14)[:maxComments]},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]Count{"web/eth0": {5, 3}, "netfate": {2, 2}}, counts); diff != "" {
		t.Errorf("statistics (-want +got):\n%s", diff)
	}
}

// TestManyInterfaces has more of them than a file bears.
func TestManyInterfaces(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, About{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint32(maxInterfaces + 5) {
		if err := w.Write(&Packet{At: at, Interface: Interface{NetNS: n + 1, Name: "eth0", Link: "ethernet"}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	got, _ := read(t, &out)
	others := 0
	for i := range got {
		if got[i].Name == other {
			others++
		}
	}
	if others != 5 || len(got) != maxInterfaces+5 {
		t.Errorf("got %d of %d packets of %s, want 5 of %d", others, len(got), other, maxInterfaces+5)
	}
}

// TestWholeBlocks: what is written at any time ends with a block.
func TestWholeBlocks(t *testing.T) {
	var out wholes
	w, err := NewWriter(&out, About{})
	if err != nil {
		t.Fatal(err)
	}
	p := Packet{At: at, Interface: Interface{Name: "eth0", Link: "ethernet"}, Bytes: make([]byte, maxPacket), Comments: []string{strings.Repeat("x", maxComments)}}
	for range 20 {
		if err := w.Write(&p); err != nil {
			t.Fatal(err)
		}
	}
	if len(out.ends) < 5 {
		t.Fatalf("got %d writes, want several", len(out.ends))
	}
	for _, end := range out.ends {
		read(t, bytes.NewReader(out.all[:end])) // fails within a block
	}
}

// wholes keeps where each write ended.
type wholes struct {
	all  []byte
	ends []int
}

func (w *wholes) Write(b []byte) (int, error) {
	w.all = append(w.all, b...)
	w.ends = append(w.ends, len(w.all))
	return len(b), nil
}

func TestRing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lost.pcapng")
	mine := filepath.Join(dir, "lost_00003_20261130T114503Z.pcapng")
	f, err := OpenFiles(Target{Path: path, Ring: Ring{Files: 3, Bytes: 64_000}}, at)
	if err != nil {
		t.Fatal(err)
	}
	i := Interface{Name: "eth0", Link: "ethernet"}
	write := func(from, to int) {
		for n := from; n < to; n++ {
			p := Packet{At: at.Add(time.Duration(n) * time.Second / 50), Interface: i, Bytes: make([]byte, 1000), Length: uint32(n)}
			if err := f.Write(&p); err != nil {
				t.Fatal(err)
			}
			f.Count(i, 1, 0)
		}
	}
	write(0, 100)
	// Somebody puts a file of their own in place of the oldest: it stays.
	oldest, err := filepath.Glob(filepath.Join(dir, "lost_00001_*"))
	if err != nil || len(oldest) != 1 {
		t.Fatalf("got %q, %v, want the first file", oldest, err)
	}
	if err := errors.Join(os.Remove(oldest[0]), os.WriteFile(oldest[0], []byte("mine"), 0o600)); err != nil {
		t.Fatal(err)
	}
	write(100, 400)
	if err := f.Close(at.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(all) != 4 {
		t.Fatalf("got %q, %v, want three files and the one of somebody else", all, err)
	}
	if b, err := os.ReadFile(oldest[0]); err != nil || string(b) != "mine" {
		t.Errorf("got %q, %v in the file of somebody else", b, err)
	}
	var lengths []int
	for _, name := range all[1:] {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		got, counts := read(t, file)
		is, err := file.Stat()
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		if is.Size() > 65_000 {
			t.Errorf("%s: got %d bytes, want 64,000 and statistics", name, is.Size())
		}
		if counts["eth0"] != (Count{uint64(len(got)), 0}) {
			t.Errorf("%s: got statistics %v of %d packets", name, counts, len(got))
		}
		for k := range got {
			lengths = append(lengths, got[k].Length)
		}
	}
	if n := len(lengths); n < 120 || !slices.IsSorted(lengths) || lengths[n-1] != 1000 && lengths[n-1] != 399 {
		t.Errorf("got %d packets in the last files", n)
	}

	// A name that is taken is not overwritten.
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := &Files{target: Target{Path: path, Ring: Ring{Files: 2, Bytes: 64_000}}, number: 2, total: map[Interface]Count{}}
	if err := g.open(at.Add(3 * time.Second)); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v where the name is taken, want that it exists", err)
	}
}

// TestPipeEnds: whoever read the pipe has ended, and that is no error.
func TestPipeEnds(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	f, err := OpenFiles(Target{Pipe: w}, at)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Flush(), r.Close()); err != nil || f.Gone() {
		t.Fatalf("got %v, gone %v while it is read", err, f.Gone())
	}
	if err := f.Flush(); err != nil || !f.Gone() {
		t.Errorf("got %v, gone %v, want that it is", err, f.Gone())
	}
	err = errors.Join(f.Write(&Packet{At: at}), f.Close(at))
	if err != nil {
		t.Errorf("got %v afterwards", err)
	}
}

// TestDiskFull writes to a device that is always full.
func TestDiskFull(t *testing.T) {
	_, err := OpenFiles(Target{Path: "/dev/full"}, at)
	if !errors.Is(err, ErrNoRoom) {
		t.Errorf("got %v, want ErrNoRoom", err)
	}
}

func dropOf(n byte, verdict record.Verdict, ifname string) record.Drop {
	d := record.Drop{Reason: "NO_SOCKET", Location: "udp_rcv+0x1", Verdict: verdict, Packets: 1, Buffers: 1, Direction: record.In,
		Packet: []byte{n}, PacketLink: "ethernet", PacketLength: 60}
	d.Time, d.NetNS, d.NetNSName, d.IfName = at, 7, "web", ifname
	return d
}

func TestDrops(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lost.pcapng")
	f, err := OpenFiles(Target{Path: path}, at)
	if err != nil {
		t.Fatal(err)
	}
	d := NewDrops(f)
	d.Read = func(*record.Drop) Reading { return Reading{Why: "nobody listens", Fix: "listen"} }
	d.Stop = func() { t.Error("stopped by itself") }
	owned := dropOf(2, record.Loss, "eth1")
	owned.PID, owned.Comm, owned.Container, owned.ContainerName = 12, "a\x1b[31mb", "abcdef", "shop"
	sum := dropOf(0, record.Refused, "eth0")
	sum.Buffers = 4
	sum2 := dropOf(0, record.Loss, "eth1")
	benign := dropOf(3, record.Benign, "eth0")
	err = d.Batch(&record.Batch{End: at.Add(time.Second), Samples: []record.Drop{dropOf(1, record.Refused, "eth0"), owned, benign},
		Drops: []record.Drop{sum, sum2, benign}, Lost: []record.Lost{{Place: "drops", Reason: "ring full", Count: 2}}})
	if err := errors.Join(err, d.Batch(&record.Batch{End: at.Add(2 * time.Second), Lost: []record.Lost{{Place: "drops", Reason: "ring full", Count: 1}}}), d.Close()); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got, counts := read(t, file)
	const said = "dropped NO_SOCKET at udp_rcv+0x1\nverdict refused: nobody listens\nfix: listen\nin, interface eth0 in network namespace web (7)"
	saidToo := strings.NewReplacer("refused", "loss", "eth0", "eth1").Replace(said) + "\nowner a\ufffd[31mb[12], container abcdef shop"
	want := []written{
		{at, "web/eth0", layers.LinkTypeEthernet, "\x01", 60, pcapgo.NgEpbFlagDirectionInbound, said},
		{at, "web/eth1", layers.LinkTypeEthernet, "\x02", 60, pcapgo.NgEpbFlagDirectionInbound, saidToo},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]Count{"web/eth0": {4, 3}, "web/eth1": {1, 0}}, counts); diff != "" {
		t.Errorf("statistics (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Sums{Seen: 5, Written: 2, Lost: 3}, d.Sums()); diff != "" {
		t.Errorf("sums (-want +got):\n%s", diff)
	}
	if l := d.Losses(); len(l) != 1 || l[0].Count != 3 {
		t.Errorf("got losses %v, want 3 of one kind", l)
	}
}

// TestMost: after as many packets as are wanted no more are written, nor lost.
func TestMost(t *testing.T) {
	f, err := OpenFiles(Target{Path: filepath.Join(t.TempDir(), "lost.pcapng")}, at)
	if err != nil {
		t.Fatal(err)
	}
	stopped := 0
	d := NewDrops(f)
	d.Read, d.Stop, d.Most = func(*record.Drop) Reading { return Reading{} }, func() { stopped++ }, 2
	one := dropOf(1, record.Loss, "eth0")
	sum := one
	sum.Buffers = 9
	b := &record.Batch{End: at, Samples: []record.Drop{one, one, one}, Drops: []record.Drop{sum}}
	if err := errors.Join(d.Batch(b), d.Batch(b), d.Close()); err != nil {
		t.Fatal(err)
	}
	if got := d.Sums(); stopped != 1 || got.Written != 2 || got.Lost != 0 {
		t.Errorf("got %+v, stopped %d times; want 2 written, none lost, once", got, stopped)
	}
}

func TestFrames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "packets.pcapng")
	f, err := OpenFiles(Target{Path: path}, at)
	if err != nil {
		t.Fatal(err)
	}
	k := NewFrames(f)
	k.Stop = func() { t.Error("stopped by itself") }
	one := record.Frame{Direction: record.Out, Packet: []byte("a frame"), Link: "ethernet", Length: 9000, Segments: 6}
	one.Time, one.NetNS, one.NetNSName, one.IfName, one.PID, one.Comm = at, 7, "web", "eth0", 12, "nginx"
	two := record.Frame{Direction: record.In, Packet: []byte("E"), Link: "ip", Length: 1}
	two.Time, two.NetNS, two.NetNSName, two.IfName = at.Add(1), 8, "db", "tun0"
	if err := k.Frames([]record.Frame{one, two}); err != nil {
		t.Fatal(err)
	}
	k.Missed(&one.Endpoints, 5)
	k.Missed(&record.Endpoints{NetNS: 9, IfName: "gone"}, 2)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got, counts := read(t, file)
	want := []written{
		{at, "web/eth0", layers.LinkTypeEthernet, "a frame", 9000, pcapgo.NgEpbFlagDirectionOutbound,
			"out, interface eth0 in network namespace web (7)\nowner nginx[12]\none buffer of 6 packets"},
		{at.Add(1), "db/tun0", layers.LinkTypeRaw, "E", 1, pcapgo.NgEpbFlagDirectionInbound, "in, interface tun0 in network namespace db (8)"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]Count{"web/eth0": {6, 5}, "db/tun0": {1, 0}, "netfate": {2, 2}}, counts); diff != "" {
		t.Errorf("statistics (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Sums{Seen: 9, Written: 2, Lost: 7}, k.Sums()); diff != "" {
		t.Errorf("sums (-want +got):\n%s", diff)
	}
}

// FuzzWriter writes packets of any kind and reads them back.
func FuzzWriter(f *testing.F) {
	f.Add([]byte("a frame"), uint32(1514), "eth0", "web", "ethernet", "dropped", at.UnixNano(), uint8(3))
	f.Add([]byte{}, uint32(0), "", "", "0x806", "", int64(0), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, length uint32, name, space, link, comment string, ns int64, many uint8) {
		if ns < 0 {
			ns = ^ns // pcapng has no time before 1970
		}
		p := Packet{At: time.Unix(0, ns).UTC(), Interface: Interface{NetNSName: space, Name: name, Link: link}, Bytes: b, Length: length,
			Direction: record.Out, Comments: []string{comment}}
		var out bytes.Buffer
		w, err := NewWriter(&out, About{Comment: comment})
		if err != nil {
			t.Fatal(err)
		}
		for range many {
			if err := w.Write(&p); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Finish(p.At, p.At, map[Interface]Count{p.Interface: {uint64(many), 0}}); err != nil {
			t.Fatal(err)
		}
		got, _ := read(t, &out)
		if len(got) != int(many) {
			t.Fatalf("got %d packets, want %d", len(got), many)
		}
		for _, g := range got {
			if !strings.HasSuffix(g.Bytes, string(b[:min(len(b), maxPacket)])) || !g.At.Equal(p.At) || g.Length < len(g.Bytes) ||
				g.Commentary != comment[:min(len(comment), maxComments)] {
				t.Fatalf("got %+v of %+v", g, p)
			}
		}
	})
}
