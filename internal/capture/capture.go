// Package capture reads packets, from capture files, pcap and pcapng, or from an
// interface, and hands them to decoders, so that a file is read by the same code
// as a live host. It is a Source of batches for the agent, as a recording is.
//
// It knows no protocol: what to make of the packets is the decoders' matter. The
// agent and the commands import it.
package capture

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/netfate/netfate/internal/packet"
	"github.com/netfate/netfate/internal/record"
)

const (
	// interval is what one batch of a file covers, in the time of the capture.
	interval = time.Second
	// maxBatchPackets ends a batch before its time, so that memory is bounded in
	// files whose clock stands.
	maxBatchPackets = 1 << 16
	// maxBack is how far time may go back before it counts as another capture:
	// interfaces are a little out of order, files put one behind the other a lot.
	maxBack = time.Minute
)

// Decoder makes records of packets. Its methods are called by one goroutine.
type Decoder interface {
	// Packet takes in p, which is good until it returns. Packets come in the order
	// of the file, of which the times are not always in order.
	Packet(p *packet.Packet)
	// Roll adds to b what is finished by now and what was lost since the last
	// call; with end, all there is.
	Roll(now time.Time, end bool, b *record.Batch)
}

// Counter is a Decoder that wants to know of every frame.
type Counter interface {
	Decoder
	// Rest takes in a frame in which no packet can be read, or not yet: p tells as
	// much as can be told, and is good until it returns.
	Rest(p *packet.Packet)
}

// Source gives what decoders make of a capture, in batches. It is for one
// goroutine. It holds one frame, what packet.Parser holds, and a batch.
type Source struct {
	frames   frames
	filter   *Filter
	parser   *packet.Parser
	decoders []Decoder
	counters []Counter // those of the decoders that are

	packet     packet.Packet
	interval   time.Duration // of a batch
	start, end time.Time     // of the batch in the making
	last       time.Time     // of the packets in it, in start and after
	ahead      frame         // read already, but of a later batch
	isAhead    bool
	most       int             // packets in a batch: maxBatchPackets; less in tests
	number     uint64          // of frames read
	unread     uint64          // of those, frames of links that cannot be read
	link       layers.LinkType // of the last of these
	note       string
	err        error
}

// Open reads the header of a capture. The decoders are the Source's from here on.
// The caller closes r.
func Open(r io.Reader, decoders ...Decoder) (*Source, error) {
	f, err := openFrames(r)
	if err != nil {
		return nil, fmt.Errorf("open capture: %w", err)
	}
	return newSource(f, decoders), nil
}

func newSource(f frames, decoders []Decoder) *Source {
	s := &Source{frames: f, parser: packet.NewParser(), decoders: decoders, interval: interval, most: maxBatchPackets}
	for _, d := range decoders {
		if c, ok := d.(Counter); ok {
			s.counters = append(s.counters, c)
		}
	}
	return s
}

// Select leaves out the frames that f does not select; nil selects all. Call it
// before Next.
func (s *Source) Select(f *Filter) { s.filter = f }

// Next returns the batch of the next second in which there are packets, of an
// interface of the next interval, which the caller owns, or io.EOF. A batch begins where the one before ended, so that
// after a silence it is longer. The last brings what is left in the decoders; a
// capture without packets has no batch. One that is cut off ends with io.EOF as a
// whole one does, and Note says so. Damage is an error, told once everything
// before it has been given.
func (s *Source) Next() (*record.Batch, error) {
	if s.err != nil {
		return nil, s.err
	}
	for n := range s.most {
		if err := s.read(); err != nil {
			return s.finish(err)
		}
		if s.outside(s.ahead.at) {
			if n > 0 {
				return s.roll(false)
			}
			s.begin(s.ahead.at)
		}
		if err := s.decode(); err != nil {
			return s.finish(err)
		}
	}
	s.end = s.last
	return s.roll(false)
}

// outside reports whether a packet of that time is of another batch.
func (s *Source) outside(at time.Time) bool {
	return s.end.IsZero() || !at.Before(s.end) || s.isBack(at)
}

// isBack reports whether that time is in another capture.
func (s *Source) isBack(at time.Time) bool { return s.start.Sub(at) > maxBack }

// begin begins the batch that has a packet of that time: where the one before
// ended, if there was one in this capture.
func (s *Source) begin(at time.Time) {
	begin := at.Truncate(s.interval)
	if s.end.IsZero() || s.isBack(at) {
		s.start = begin
	}
	s.end = begin.Add(s.interval)
}

// read makes sure that a frame is ahead.
func (s *Source) read() error {
	if s.isAhead {
		return nil
	}
	f, err := s.frames.next()
	if err != nil {
		return err
	}
	if f.at.IsZero() { // pcapng's simple packets have no time
		f.at = s.start
	}
	if !f.tick {
		s.number++
	}
	s.ahead, s.isAhead = f, true
	return nil
}

// decode gives the frame that is ahead to the decoders, if it is selected.
func (s *Source) decode() error {
	f := s.ahead
	s.isAhead = false
	if f.at.After(s.start) {
		s.last = f.at
	}
	if f.tick {
		return nil
	}
	if ok, err := s.filter.matches(&f); !ok {
		return err
	}
	if !packet.Reads(f.link) {
		s.unread++
		s.link = f.link
	}
	ok := s.parser.Parse(f.link, f.at, f.bytes, f.length, &s.packet)
	s.packet.Interface = f.iface
	if !ok {
		for _, c := range s.counters {
			c.Rest(&s.packet)
		}
		return nil
	}
	for _, d := range s.decoders {
		d.Packet(&s.packet)
	}
	return nil
}

// roll ends the batch.
func (s *Source) roll(last bool) (*record.Batch, error) {
	b := &record.Batch{Start: s.start, End: s.end}
	for _, d := range s.decoders {
		d.Roll(s.end, last, b)
	}
	b.Lost = append(b.Lost, s.parser.Lost()...)
	if s.unread > 0 {
		b.Lost = append(b.Lost, record.Lost{Place: "capture", Reason: fmt.Sprintf("link type %d", s.link), Count: s.unread,
			Effect: "frames of a kind that netfate cannot read: what they carry is not known"})
		s.unread = 0
	}
	n, effect, err := s.frames.dropped()
	if n > 0 {
		b.Lost = append(b.Lost, record.Lost{Place: "capture", Reason: "dropped", Count: n, Effect: effect})
	}
	for i := range b.Lost {
		b.Lost[i].Time = b.End
	}
	s.start, s.last = s.end, s.end
	return b, err
}

// finish gives the last batch and remembers how the file ended.
func (s *Source) finish(err error) (*record.Batch, error) {
	switch {
	case errors.Is(err, io.EOF):
		s.err = io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF):
		s.note = fmt.Sprintf("the capture is cut off: its last whole packet is number %d, what came after is missing", s.number)
		s.err = io.EOF
	default:
		s.err = fmt.Errorf("read capture: after packet %d: %w", s.number, err)
	}
	if s.end.IsZero() {
		return nil, s.err
	}
	return s.roll(true)
}

// Close ends the reading of an interface; a file's reader is the caller's.
func (s *Source) Close() error {
	if c, ok := s.frames.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Note says, once Next has returned io.EOF, in one sentence what the user must
// know about the capture's end: that it is cut off. It is empty if there is
// nothing to say.
func (s *Source) Note() string { return s.note }

// Packets returns how many frames were read so far.
func (s *Source) Packets() uint64 { return s.number }

// Is reports whether a file that begins with head is a capture, by its magic
// number: 12 bytes are enough.
func Is(head []byte) bool {
	return len(head) >= 4 && slices.ContainsFunc(magics(), func(m magic) bool { return m.begins(head) })
}
