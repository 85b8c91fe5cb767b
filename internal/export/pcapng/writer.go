// Package pcapng writes packets as Wireshark reads them: to a file, a ring of files
// or a pipe, with what netfate knows of each as its comments, and an interface block
// for each interface in each network namespace.
//
// It knows neither sensors nor flags. The commands import it.
package pcapng

import (
	"bufio"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/record"
)

const (
	// bufferLen is how much is written at once at the most. What is written ends
	// with a block, so that a file is whole whenever netfate is killed.
	bufferLen = 256 << 10
	// largest is a block that fits into what is left of the buffer in any case.
	largest = 80 << 10
	// maxInterfaces bounds the interface blocks of a file; packets of further ones
	// are of ~other.
	maxInterfaces = 4096
	// maxComments bounds the bytes of a packet's comments.
	maxComments = 8 << 10
	// maxPacket bounds the bytes of a packet.
	maxPacket = 1<<16 - 1
	cookedLen = 16
)

// Interface is one in one namespace, and what its packets begin with: decode's
// LinkEthernet, LinkIP, or an Ethernet type in hexadecimal. The zero value stands for packets of IP
// that have lost theirs.
type Interface struct {
	NetNS           uint32
	NetNSName, Name string
	Link            string
}

// title is what the interface is called in a capture: netns/interface.
func (i *Interface) title() string {
	space := i.space()
	switch {
	case i.Name == "":
		return space
	case space == "":
		return i.Name
	}
	return space + "/" + i.Name
}

func (i *Interface) space() string {
	if i.NetNSName == "" && i.NetNS != 0 {
		return strconv.FormatUint(uint64(i.NetNS), 10)
	}
	return i.NetNSName
}

func (i *Interface) describe() string {
	text := "no interface"
	if i.Name != "" {
		text = "interface " + i.Name
	}
	if i.NetNS != 0 {
		text += fmt.Sprintf(" in network namespace %s (%d)", i.space(), i.NetNS)
	}
	return text
}

// linkType is how Wireshark calls what packets begin with. What is neither Ethernet
// nor IP gets the header that Linux has for such packets, with their type.
func (i *Interface) linkType() layers.LinkType {
	switch i.Link {
	case decode.LinkEthernet:
		return layers.LinkTypeEthernet
	case decode.LinkIP, "":
		return layers.LinkTypeRaw
	}
	return layers.LinkTypeLinuxSLL
}

// Packet is one to be written. Its bytes and comments are not kept.
type Packet struct {
	At        time.Time
	Interface Interface
	Bytes     []byte
	Length    uint32 // of which Bytes is what was captured
	Direction record.Direction
	Comments  []string
}

// size is about how many bytes its block has.
func (k *Packet) size() int64 {
	n := blockLen + len(k.Bytes)
	for _, c := range k.Comments {
		n += optionLen + len(c)
	}
	return int64(n)
}

// Bytes of a block of a packet without its bytes and comments, and of an option
// without its text.
const (
	blockLen  = 64
	optionLen = 8
)

// About is what the head of a file says.
type About struct {
	Netfate, System string // and version
	Comment         string
	Snaplen         uint32
}

// Count is how many packets of an interface there were, and how many of them are
// not in the file.
type Count struct{ Seen, Lost uint64 }

// Writer writes one file. It is for one goroutine.
type Writer struct {
	out     *counter
	buffer  *bufio.Writer
	ng      *pcapgo.NgWriter
	about   About
	ids     map[Interface]int
	options pcapgo.NgPacketOptions
	flags   pcapgo.NgEpbFlags
	cooked  []byte
	packets uint64
}

// counter knows how much was written, whole.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if err == nil {
		c.n += int64(n)
	}
	return n, err
}

// NewWriter writes the head of a file: that, and the interface of packets without one.
func NewWriter(w io.Writer, about About) (*Writer, error) {
	out := &counter{w: w}
	p := &Writer{out: out, buffer: bufio.NewWriterSize(out, bufferLen), about: about, ids: map[Interface]int{{}: 0}}
	var err error
	p.ng, err = pcapgo.NewNgWriterInterface(p.buffer, pcapgo.NgInterface{
		Name: "netfate", Description: "packets that have lost their interface", LinkType: layers.LinkTypeRaw, SnapLength: about.Snaplen,
	}, pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{
		Hardware: runtime.GOARCH, OS: about.System, Application: about.Netfate, Comment: about.Comment,
	}})
	if err != nil {
		return p, err
	}
	return p, p.Flush()
}

// Write writes a packet, and its interface before the first one of it.
func (p *Writer) Write(k *Packet) error {
	if p.buffer.Available() < largest {
		if err := p.Flush(); err != nil {
			return err
		}
	}
	id, err := p.interfaceOf(&k.Interface)
	if err != nil {
		return err
	}
	b, length := k.Bytes[:min(len(k.Bytes), maxPacket)], int(k.Length)
	if k.Interface.linkType() == layers.LinkTypeLinuxSLL {
		b = p.cook(k.Interface.Link, b)
		length += cookedLen
	}
	p.flags.Direction = directionOf(k.Direction)
	p.options.Flags = &p.flags
	p.options.Comments = bound(p.options.Comments[:0], k.Comments)
	p.packets++
	return p.ng.WritePacketWithOptions(gopacket.CaptureInfo{
		Timestamp: k.At, CaptureLength: len(b), Length: max(length, len(b)), InterfaceIndex: id,
	}, b, p.options)
}

// bound adds the comments as far as there is room.
func bound(to, comments []string) []string {
	left := maxComments
	for _, c := range comments {
		if c = c[:min(len(c), left)]; c != "" {
			to = append(to, c)
			left -= len(c)
		}
	}
	return to
}

func directionOf(d record.Direction) pcapgo.NgEpbFlag {
	switch d {
	case record.In:
		return pcapgo.NgEpbFlagDirectionInbound
	case record.Out:
		return pcapgo.NgEpbFlagDirectionOutbound
	case record.Forward:
	}
	return pcapgo.NgEpbFlagDirectionUnknown
}

// cook puts the header of LINKTYPE_LINUX_SLL before a packet: from here, of a device
// without addresses (ARPHRD_NONE), and its Ethernet type.
func (p *Writer) cook(link string, b []byte) []byte {
	proto, _ := strconv.ParseUint(link, 0, 16) // of what is none, nothing is known
	p.cooked = append(p.cooked[:0], 0, 4, 0xff, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(proto>>8), byte(proto))
	p.cooked = append(p.cooked, b...)
	return p.cooked
}

// interfaceOf returns the number of an interface, which has a block by then.
func (p *Writer) interfaceOf(i *Interface) (int, error) {
	if id, ok := p.ids[*i]; ok {
		return id, nil
	}
	if len(p.ids) > maxInterfaces && i.Name != other {
		return p.interfaceOf(&Interface{Name: other, Link: i.Link})
	}
	id, err := p.ng.AddInterface(pcapgo.NgInterface{
		Name: printable(i.title()), Description: printable(i.describe()), LinkType: i.linkType(), SnapLength: p.about.Snaplen,
	})
	if err != nil {
		return 0, err
	}
	p.ids[*i] = id
	return id, nil
}

// other is the interface of packets whose own found no room.
const other = "~other"

// Flush writes what waits.
func (p *Writer) Flush() error { return p.buffer.Flush() }

// Size is how long the file is, or will be with what waits.
func (p *Writer) Size() int64 { return p.out.n + int64(p.buffer.Buffered()) }

// Finish writes the statistics of all interfaces, and what waits. Counts of those
// that have no block are of the one of packets without.
func (p *Writer) Finish(from, to time.Time, counts map[Interface]Count) error {
	all := make(map[int]Count, len(p.ids))
	for i, n := range counts {
		id := p.ids[i]
		sum := all[id]
		all[id] = Count{sum.Seen + n.Seen, sum.Lost + n.Lost}
	}
	for id := range len(p.ids) {
		if p.buffer.Available() < largest {
			if err := p.Flush(); err != nil {
				return err
			}
		}
		err := p.ng.WriteInterfaceStats(id, pcapgo.NgInterfaceStatistics{
			LastUpdate: to, StartTime: from, EndTime: to, PacketsReceived: all[id].Seen, PacketsDropped: all[id].Lost,
		})
		if err != nil {
			return err
		}
	}
	return p.Flush()
}
