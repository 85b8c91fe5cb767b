// Package stream puts TCP segments in order and hands the bytes of each
// direction to whoever reads the protocol. It is no TCP: it watches what two
// others say, may have come late, and may miss segments that they had.
//
// What is delivered does not depend on how the bytes were cut into segments, on
// how often these came, nor, within the bounds of [Limits], on their order. Of
// bytes that come twice with different contents the first ones win; which ones
// the receiver took, systems differ in.
//
// It is pure: time is that of the packets. The decoders of protocols import it.
package stream

import (
	"net/netip"
	"time"
)

// Dir is a direction of a connection.
type Dir uint8

// The directions: Up is from the opener (client) to the acceptor (server).
const (
	Up Dir = iota
	Down
)

// End is how a direction ended.
type End uint8

// The ends.
const (
	FIN     End = iota // its sender had said everything
	RST                // one side gave up, which ends both directions
	Flushed            // nobody said; the assembler forgets it
)

// Conn is one connection.
type Conn struct {
	Client, Server netip.AddrPort
	Start          time.Time // first packet
	// Midway says that the beginning was not seen. Each direction then starts
	// with its first segment that has data, and who the client is was guessed:
	// the one with the higher port, else the one that spoke first.
	Midway bool
	Space  uint32   // that of its packets
	VLAN   []uint16 // tags of the first packet, the outermost first
	// Interface is where the first packet was captured, if that is known.
	Interface string
}

// Reader is what a protocol does with one connection. All calls come from
// within Add and Flush, in the order of the bytes of each direction. Times are
// those of the packets that carried the bytes: where packets came out of
// order, a later byte may have an earlier time.
type Reader interface {
	// Data brings the next bytes; b is good until it returns.
	Data(d Dir, b []byte, at time.Time)
	// Gap says that so many bytes will never come: they were not captured, or
	// waited for too long. It is 0 if the beginning of the direction is missing,
	// when nobody knows how many.
	Gap(d Dir, bytes int, at time.Time)
	// Skip says the same of bytes that nobody wanted to have.
	Skip(d Dir, bytes int, at time.Time)
	// End comes once for each direction, after its last byte.
	End(d Dir, how End, at time.Time)
}

// Limits bound what the assembler holds; a field that is 0 is its default. Times
// are by the packets' clock.
type Limits struct {
	Conns    int           // open connections, and as many closed ones; default 131,072
	Bytes    int           // that wait for earlier ones, each direction; default 1 MiB
	Segments int           // the same in segments; default 1,024
	Memory   int           // all that waits, in bytes with their bookkeeping; default 256 MiB
	Wait     time.Duration // how long bytes wait for earlier ones; default 30 s
	Idle     time.Duration // connections that are silent for longer end; default 10 min
}

// withDefaults fills in what is 0.
func (l Limits) withDefaults() Limits {
	set := func(to *int, value int) {
		if *to <= 0 {
			*to = value
		}
	}
	set(&l.Conns, 131_072)
	set(&l.Bytes, 1<<20)
	set(&l.Segments, 1024)
	set(&l.Memory, 256<<20)
	if l.Wait <= 0 {
		l.Wait = 30 * time.Second
	}
	if l.Idle <= 0 {
		l.Idle = 10 * time.Minute
	}
	return l
}
