package wire

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/filter"
	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/test/need"
)

// notTagged is the program without its look at tags, which no machine but the
// kernel's can take: here tags are in the frame.
func notTagged(t *testing.T, link layers.LinkType, asked func(layers.LinkType) ([]bpf.RawInstruction, error)) []bpf.RawInstruction {
	t.Helper()
	code, err := programFor(link, asked)
	if err != nil {
		t.Fatal(err)
	}
	if link == layers.LinkTypeEthernet {
		code = code[len(tagged()):]
	}
	return code
}

// frame is a frame with so many bytes, all 0 but the type and one other.
func frame(etherType uint16, at int, value byte) []byte {
	b := make([]byte, 60)
	binary.BigEndian.PutUint16(b[12:], etherType)
	b[at] = value
	return b
}

func TestProgram(t *testing.T) {
	code := notTagged(t, layers.LinkTypeEthernet, nil)
	for name, c := range map[string]struct {
		frame []byte
		want  bool
	}{
		"TCP":               {frame(unix.ETH_P_IP, 23, 6), true},
		"UDP":               {frame(unix.ETH_P_IP, 23, 17), true},
		"6in4":              {frame(unix.ETH_P_IP, 23, 41), true},
		"ICMP":              {frame(unix.ETH_P_IP, 23, 1), false},
		"TCP over IPv6":     {frame(unix.ETH_P_IPV6, 20, 6), true},
		"fragment of IPv6":  {frame(unix.ETH_P_IPV6, 20, 44), true},
		"ICMPv6":            {frame(unix.ETH_P_IPV6, 20, 58), false},
		"ARP":               {frame(unix.ETH_P_ARP, 23, 6), false},
		"tagged":            {frame(unix.ETH_P_8021Q, 23, 1), true},
		"tagged otherwise":  {frame(unix.ETH_P_QINQ1, 23, 1), true},
		"with a length":     {frame(38, 14, 0xaa), true},
		"longest length":    {frame(0x5ff, 14, 0xaa), true},
		"first type":        {frame(0x600, 14, 0xaa), false},
		"shorter than that": {make([]byte, 13), false},
	} {
		if got := filter.Matches(code, c.frame, len(c.frame)); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	code = notTagged(t, layers.LinkTypeRaw, nil)
	for want, list := range map[bool][][]byte{
		true:  {{0x45, 9: 6}, {0x45, 9: 17}, {0x60, 6: 6}, {0x60, 6: 140}},
		false: {{0x45, 9: 1}, {0x60, 6: 58}, {0x75, 9: 6}, {0x45}, nil},
	} {
		for _, b := range list {
			if got := filter.Matches(code, b, len(b)); got != want {
				t.Errorf("raw %x: got %v, want %v", b, got, want)
			}
		}
	}
}

// TestProgramAsked has both filters: what is let through is let through by both.
func TestProgramAsked(t *testing.T) {
	ask := func(link layers.LinkType) ([]bpf.RawInstruction, error) {
		return filter.Compile(t.Context(), "not tcp", filter.Ethernet, filter.DefaultSnaplen)
	}
	code := notTagged(t, layers.LinkTypeEthernet, ask)
	for want, list := range map[bool][][]byte{
		true:  {frame(unix.ETH_P_IP, 23, 17), frame(unix.ETH_P_IPV6, 20, 17), frame(unix.ETH_P_8021Q, 23, 6)},
		false: {frame(unix.ETH_P_IP, 23, 6), frame(unix.ETH_P_IP, 23, 1), frame(unix.ETH_P_ARP, 23, 6)},
	} {
		for _, b := range list {
			if got := filter.Matches(code, b, len(b)); got != want {
				t.Errorf("%x: got %v, want %v", b, got, want)
			}
		}
	}
	long := func(layers.LinkType) ([]bpf.RawInstruction, error) {
		return make([]bpf.RawInstruction, maxInstructions), nil
	}
	if _, err := programFor(layers.LinkTypeEthernet, long); err == nil {
		t.Error("got a program longer than the kernel's, want an error")
	}
}

// TestProgramLetsThrough has every frame of the public captures: in what is held
// back, there is no TCP and no UDP.
func TestProgramLetsThrough(t *testing.T) {
	list, err := filepath.Glob(filepath.Join(need.Captures(t), "*.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	code := notTagged(t, layers.LinkTypeEthernet, nil)
	kept, held := 0, 0
	for _, path := range list {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := pcapgo.NewReader(file)
		if err != nil || r.LinkType() != layers.LinkTypeEthernet {
			file.Close()
			continue // pcapng, or another link
		}
		parser, p := packet.NewParser(), packet.Packet{}
		for n := 1; ; n++ {
			b, info, err := r.ReadPacketData()
			if err != nil {
				break
			}
			parser.Parse(r.LinkType(), info.Timestamp, b, info.Length, &p)
			switch {
			case filter.Matches(code, b, info.Length):
				kept++
			case slices.Contains([]uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP}, p.Proto):
				t.Errorf("%s: frame %d is held back: %x", filepath.Base(path), n, b)
			default:
				held++
			}
		}
		file.Close()
	}
	if kept < 1000 || held < 10 {
		t.Errorf("got %d frames let through and %d held back", kept, held)
	}
}
