package capture

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// ErrNotCapture says that a file is no capture at all.
var ErrNotCapture = errors.New("neither pcap nor pcapng")

// magic is how a capture begins.
type magic struct {
	is   []byte
	then []byte // at 8, in pcapng
}

func magics() []magic {
	section := []byte{0x0a, 0x0d, 0x0d, 0x0a}
	return []magic{
		{is: []byte{0xa1, 0xb2, 0xc3, 0xd4}}, {is: []byte{0xd4, 0xc3, 0xb2, 0xa1}}, // microseconds
		{is: []byte{0xa1, 0xb2, 0x3c, 0x4d}}, {is: []byte{0x4d, 0x3c, 0xb2, 0xa1}}, // nanoseconds
		{is: section, then: []byte{0x1a, 0x2b, 0x3c, 0x4d}}, {is: section, then: []byte{0x4d, 0x3c, 0x2b, 0x1a}},
	}
}

func (m *magic) begins(head []byte) bool {
	return bytes.HasPrefix(head, m.is) && (m.then == nil || len(head) >= 12 && bytes.HasPrefix(head[8:], m.then))
}

// frame is one packet of a file, as captured. Its bytes are good until the next
// is read.
type frame struct {
	at     time.Time
	link   layers.LinkType
	bytes  []byte
	length int    // of which bytes is what was captured
	iface  string // where, if the file says
	tick   bool   // no frame: nothing came up to that time
}

// frames is a file of either format, or an interface. next returns io.EOF behind
// the last frame and io.ErrUnexpectedEOF where the file is cut; dropped is how
// many packets the file says are not in it, since the last call, and what that
// spoils, in words.
type frames interface {
	next() (frame, error)
	dropped() (n uint64, effect string, err error)
}

const notKept = "whoever captured did not keep up: packets are not in the file"

func openFrames(r io.Reader) (frames, error) {
	in := bufio.NewReaderSize(r, 256<<10)
	head, err := in.Peek(24)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !Is(head) {
		return nil, fmt.Errorf("%w: it begins with none of their magic numbers", ErrNotCapture)
	}
	var f frames
	if head[0] == 0x0a {
		f, err = openPCAPNG(in)
	} else {
		f, err = openPCAP(in)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: it ends within its header", ErrNotCapture)
	}
	return f, err
}

// pcap is the older format: one link type, no notes.
type pcap struct{ r *pcapgo.Reader }

func openPCAP(in io.Reader) (frames, error) {
	r, err := pcapgo.NewReader(in)
	if err != nil {
		return nil, err
	}
	return pcap{r}, nil
}

func (f pcap) next() (frame, error) {
	b, info, err := f.r.ZeroCopyReadPacketData()
	if errors.Is(err, io.EOF) && info.CaptureLength > 0 {
		err = io.ErrUnexpectedEOF // behind the header of a packet
	}
	return frame{at: info.Timestamp, link: f.r.LinkType(), bytes: b, length: info.Length}, err
}

func (pcap) dropped() (uint64, string, error) { return 0, "", nil }

// pcapng is the newer format: interfaces with links and clocks of their own, and
// statistics among the packets.
type pcapng struct {
	r      *pcapgo.NgReader
	ifaces []string       // names, by number
	told   map[int]uint64 // by interface, what its last statistics said was dropped
	missed uint64
}

func openPCAPNG(in io.Reader) (frames, error) {
	f := &pcapng{told: map[int]uint64{}}
	r, err := pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{
		WantMixedLinkType:  true,
		StatisticsCallback: f.statistics,
		// Interfaces are numbered anew.
		SectionEndCallback: func([]pcapgo.NgInterface, pcapgo.NgSectionInfo) {
			clear(f.told)
			f.ifaces = f.ifaces[:0]
		},
	})
	if err != nil {
		return nil, err
	}
	f.r = r
	return f, nil
}

// statistics takes in counts since the capture began, which may come more than
// once.
func (f *pcapng) statistics(at int, s pcapgo.NgInterfaceStatistics) {
	if s.PacketsDropped == math.MaxUint64 { // not told
		return
	}
	if n := s.PacketsDropped; n > f.told[at] {
		f.missed += n - f.told[at]
		f.told[at] = n
	}
}

func (f *pcapng) next() (frame, error) {
	b, info, err := f.r.ZeroCopyReadPacketData()
	if err != nil {
		return frame{}, err
	}
	return frame{at: info.Timestamp, link: linkOf(info), bytes: b, length: info.Length, iface: f.iface(info.InterfaceIndex)}, nil
}

// iface returns the name of an interface, which it may lack.
func (f *pcapng) iface(at int) string {
	for n := len(f.ifaces); n <= at; n++ {
		i, err := f.r.Interface(n)
		if err != nil {
			return ""
		}
		f.ifaces = append(f.ifaces, i.Name)
	}
	return f.ifaces[at]
}

// linkOf returns the link type, which comes beside the packet.
func linkOf(info gopacket.CaptureInfo) layers.LinkType {
	if len(info.AncillaryData) == 0 {
		return layers.LinkTypeMax
	}
	link, ok := info.AncillaryData[0].(layers.LinkType)
	if !ok {
		return layers.LinkTypeMax
	}
	return link
}

func (f *pcapng) dropped() (uint64, string, error) {
	n := f.missed
	f.missed = 0
	return n, notKept, nil
}
