package capture

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/netfate/netfate/internal/flows"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
)

// TestFlowsAddUp holds the flows of every public capture, and of one made here,
// against the number of frames and bytes that capinfos counts.
func TestFlowsAddUp(t *testing.T) {
	for _, path := range append(captures(t), motley(t)) {
		var packets, bytes, ways uint64
		for _, f := range flowsOf(t, path) {
			packets += f.HostPackets
			bytes += f.HostBytes
			ways += f.PacketsIn + f.PacketsOut
		}
		got := fmt.Sprintf("%d\t%d", packets, bytes)
		out := run(t, "capinfos", "-T", "-M", "-r", "-c", "-d", path)
		_, want, _ := strings.Cut(strings.TrimSpace(out), "\t")
		if got != want || ways != packets {
			t.Errorf("%s: got %q packets and bytes, want %q; both ways have %d packets", filepath.Base(path), got, want, ways)
		}
	}
}

// TestFlowsLikeTshark compares conversations of TCP and UDP with tshark's, one by
// one and each way, over all public captures in one file. A difference that is
// argued stands in testdata/tshark-conversations.tsv with its reason.
func TestFlowsLikeTshark(t *testing.T) {
	all := filepath.Join(t.TempDir(), "all.pcapng")
	run(t, "mergecap", append([]string{"-a", "-w", all, motley(t)}, captures(t)...)...)
	want := conversations(t, run(t, "tshark", "-n", "-q", "-r", all, "-z", "conv,tcp", "-z", "conv,udp"))
	have := map[string]string{}
	for conversation, w := range summed(flowsOf(t, all)) {
		have[conversation] = w.String()
	}
	if len(want) < 100 {
		t.Fatalf("got %d conversations from tshark", len(want))
	}
	var got []string
	for _, c := range slices.Sorted(keys(want, have)) {
		if want[c] != have[c] {
			got = append(got, fmt.Sprintf("%s\t%s\t%s", c, orNone(have[c]), orNone(want[c])))
		}
	}
	argued(t, filepath.Join("testdata", "tshark-conversations.tsv"), "conversation\tnetfate\ttshark\treason", got)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func captures(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(need.Captures(t), "*.pcap"))
	if err != nil || len(list) < 50 {
		t.Fatalf("got %d captures, %v", len(list), err)
	}
	return list
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var errs strings.Builder
	c := exec.Command(name, args...)
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, &errs)
	}
	return string(out)
}

func flowsOf(t *testing.T, path string) (list []record.Flow) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s, err := Open(file, flows.New())
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, err := s.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatalf("%s: %v", filepath.Base(path), err)
		}
		list = append(list, b.Flows...)
	}
}

// way is frames and bytes one way.
type way struct{ packets, bytes uint64 }

// ways is a conversation, there and back, put as tshark does.
type ways [2]way

func (w *ways) String() string { return w[0].String() + ", back " + w[1].String() }

// String rounds as tshark does, down, from 10,000 on.
func (w way) String() string {
	n, unit := w.bytes, 0
	for n >= 10_000 && unit < 2 {
		n, unit = n/1000, unit+1
	}
	return fmt.Sprintf("%d frames %d %s", w.packets, n, []string{"bytes", "kB", "MB"}[unit])
}

// conversationOf names one by its ends, the smaller first.
func conversationOf(proto string, src, dst netip.AddrPort) (name string, swapped bool) {
	if swapped = src.Compare(dst) > 0; swapped {
		src, dst = dst, src
	}
	return fmt.Sprintf("%s %v %v", proto, src, dst), swapped
}

// summed adds up flows of TCP and UDP with ports by conversation.
func summed(list []record.Flow) map[string]*ways {
	all := map[string]*ways{}
	for _, f := range list {
		if f.Proto != "tcp" && f.Proto != "udp" || f.SrcPort == 0 && f.DstPort == 0 {
			continue
		}
		name, swapped := conversationOf(f.Proto, ends(f.SrcAddr, f.SrcPort), ends(f.DstAddr, f.DstPort))
		w := all[name]
		if w == nil {
			w = &ways{}
			all[name] = w
		}
		there, back := &w[0], &w[1]
		if swapped {
			there, back = back, there
		}
		there.packets, there.bytes = there.packets+f.PacketsOut, there.bytes+f.BytesOut
		back.packets, back.bytes = back.packets+f.PacketsIn, back.bytes+f.BytesIn
	}
	return all
}

func ends(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// conversations reads what tshark prints. One that ended and began anew has a
// line for each time, which are added up where tshark did not round.
func conversations(t *testing.T, text string) map[string]string {
	t.Helper()
	line := regexp.MustCompile(`^(\S+):(\d+) +<-> (\S+):(\d+) +(\d+) (\d+) (bytes|kB|MB) +(\d+) (\d+) (bytes|kB|MB) `)
	all, proto, sums := map[string]string{}, "", map[string]*ways{}
	for row := range strings.Lines(text) {
		if head, ok := strings.CutSuffix(strings.TrimSpace(row), " Conversations"); ok {
			proto = strings.ToLower(head)
		}
		m := line.FindStringSubmatch(row)
		if m == nil {
			continue
		}
		number := func(i int) uint64 {
			n, err := strconv.ParseUint(m[i], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		name, swapped := conversationOf(proto, ends(netip.MustParseAddr(m[1]), uint16(number(2))), ends(netip.MustParseAddr(m[3]), uint16(number(4))))
		back, there := []string{m[5], m[6], m[7]}, []string{m[8], m[9], m[10]}
		w := ways{{number(8), number(9)}, {number(5), number(6)}}
		if swapped {
			back, there = there, back
			w[0], w[1] = w[1], w[0]
		}
		if s := sums[name]; s != nil {
			for i := range w {
				s[i].packets, s[i].bytes = s[i].packets+w[i].packets, s[i].bytes+w[i].bytes
			}
			all[name] = s.String()
			continue
		}
		sums[name] = &w
		all[name] = fmt.Sprintf("%s frames %s %s, back %s frames %s %s", there[0], there[1], there[2], back[0], back[1], back[2])
	}
	return all
}

// motley writes a capture of everything that is no plain segment: tags, tunnels,
// fragments, other protocols, what is broken, and three interfaces, of which one is
// of a kind that cannot be read.
func motley(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "motley.pcapng")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w, err := pcapgo.NewNgWriterInterface(file, pcapgo.NgInterface{Name: "eth0", LinkType: layers.LinkTypeEthernet, TimestampResolution: 9}, pcapgo.NgWriterOptions{})
	for _, i := range []pcapgo.NgInterface{
		{Name: "tun0", LinkType: layers.LinkTypeRaw, TimestampResolution: 9}, {Name: "wlan0", LinkType: layers.LinkTypeIEEE802_11, TimestampResolution: 9},
	} {
		if err == nil {
			_, err = w.AddInterface(i)
		}
	}
	at := begin
	put := func(iface int, b []byte, cut int) {
		at = at.Add(100 * time.Millisecond)
		if err == nil {
			err = w.WritePacket(gopacket.CaptureInfo{Timestamp: at, InterfaceIndex: iface, CaptureLength: len(b), Length: len(b) + cut}, b)
		}
	}
	plain := inEthernet("plain")
	tagged := func(b []byte, kinds ...byte) []byte {
		for _, k := range kinds { // 0x81, 0x88: 802.1Q, 802.1ad
			low := map[byte]byte{0x81: 0x00, 0x88: 0xa8}[k]
			b = slices.Concat(b[:12], []byte{k, low, 0, 7}, b[12:])
		}
		return b
	}
	vxlan := func(b []byte) []byte { // to 4789, valid
		outer := inEthernet("\x08\x00\x00\x00\x00\x00\x07\x00" + string(b))
		outer[36], outer[37] = 4789>>8, 4789&0xff
		return outer
	}
	for _, b := range [][]byte{
		plain, tagged(plain, 0x81), tagged(plain, 0x81, 0x88), vxlan(plain), vxlan(tagged(plain, 0x81)), append(plain, make([]byte, 30)...),
		append(make([]byte, 12), 8, 6, 0, 1, 8, 0),     // ARP
		append(make([]byte, 12), 0, 38, 0x42, 0x42, 3), // spanning tree
		append(make([]byte, 12), 8, 0, 0x75, 1),        // neither version of IP
		append(make([]byte, 12), 0x86, 0xdd, 0x60),     // cut within its header
		make([]byte, 9),                         // shorter than Ethernet
		append(make([]byte, 12), 0x12, 0x34, 1), // unknown
		slices.Concat(make([]byte, 12), []byte{8, 0}, echo(8), echo(0)), // padded
		slices.Concat(make([]byte, 12), []byte{8, 0}, echo(0)),          // the answer
		part(1, 0, true, datagram("12345678")[20:36]),
		part(1, 2, false, []byte("the rest")),
		part(2, 2, false, []byte("whose beginning never comes")),
	} {
		put(0, b, 0)
	}
	put(0, plain[:30], len(plain)-30)
	put(1, datagram("raw"), 0)
	put(1, nil, 40)
	put(2, make([]byte, 60), 0)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// part is a fragment in a frame, at eights of 8 bytes.
func part(id, eights byte, more bool, body []byte) []byte {
	b := slices.Concat(datagram("")[:20], body)
	b[3], b[5], b[7] = byte(len(b)), id, eights
	if more {
		b[6] = 0x20
	}
	return slices.Concat(make([]byte, 12), []byte{8, 0}, b)
}

// echo is a packet of ICMP: 8 asks, 0 answers.
func echo(kind byte) []byte {
	b := datagram("ping")
	b[9], b[20], b[21] = 1, kind, 0
	if kind == 0 {
		copy(b[12:], slices.Concat(b[16:20], b[12:16]))
	}
	return b
}

// TestMotley says what becomes of each of its frames.
func TestMotley(t *testing.T) {
	got := map[string]string{}
	for _, f := range flowsOf(t, motley(t)) {
		name := f.IfName + " " + f.Proto
		if f.SrcAddr.IsValid() {
			name += fmt.Sprintf(" %v %v", ends(f.SrcAddr, f.SrcPort), ends(f.DstAddr, f.DstPort))
		}
		if f.Other {
			name += "other"
		}
		got[name] = strings.TrimSpace(got[name] + fmt.Sprintf(" %d+%d", f.PacketsOut, f.PacketsIn))
	}
	if diff := cmp.Diff(map[string]string{
		"eth0 udp 10.0.0.2:2000 10.0.0.1:1000": "0+6 0+2", // in two batches; a port below 1,024 is a server's
		"eth0 udp 10.0.0.1:0 10.0.0.2:0":       "1+0",
		"eth0 icmp 10.0.0.1:0 10.0.0.2:0":      "1+1",
		"eth0 arp":                             "1+0",
		"eth0 llc":                             "1+0",
		"eth0 ipv4":                            "1+0 1+0",
		"eth0 ipv6":                            "1+0",
		"eth0 0x1234":                          "1+0",
		"eth0 other":                           "1+0",
		"tun0 udp 10.0.0.2:2000 10.0.0.1:1000": "0+1",
		"tun0 other":                           "1+0",
		"wlan0 other":                          "1+0",
	}, got); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}
}
