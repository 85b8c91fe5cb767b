package hook

import (
	"slices"
	"time"

	"github.com/netfate/netfate/internal/decode"
)

const (
	protoUDP = 17
	// maxParts bounds the datagrams that are not whole yet, 64 KiB each at most. A
	// CPU writes the rows of one behind each other, so there is one a CPU, unless
	// rows are lost.
	maxParts = 256
	// patience is how long further rows are waited for: a program writes them
	// within microseconds.
	patience = time.Second
)

// datagrams puts together datagrams of several rows, the one that came first
// ahead.
type datagrams []part

// part is a datagram of which rows are missing.
type part struct {
	head  decode.PacketEvent // of the first row
	data  []byte
	since time.Time
}

// add takes in a row that came by now and returns the packet that ends with it,
// of which e becomes the head: a segment, a datagram that is whole, or one that
// never will be.
func (d *datagrams) add(e *decode.PacketEvent, payload []byte, now time.Time) ([]byte, bool) {
	if e.Proto != protoUDP || e.Seq == 0 && uint32(e.Captured)+e.Missing >= e.Ack {
		return payload, true
	}
	at := slices.IndexFunc(*d, func(p part) bool {
		return p.head.Time == e.Time && p.head.Dir == e.Dir && p.head.Tuple == e.Tuple
	})
	switch {
	case at >= 0:
	case e.Seq > 0:
		return nil, false // its beginning was lost, or what is between was: both are counted
	default:
		data := append(make([]byte, 0, min(e.Ack, 1<<16)), payload...)
		*d = append(*d, part{head: *e, data: data, since: now})
		if len(*d) <= maxParts {
			return nil, false
		}
		return d.end(0, e), true
	}
	p := &(*d)[at]
	if int(e.Seq) != len(p.data) {
		return d.end(at, e), true
	}
	p.data = append(p.data, payload...)
	if e.Captured > 0 && e.Missing == 0 && len(p.data) < int(p.head.Ack) {
		return nil, false
	}
	return d.end(at, e), true
}

// late returns a datagram that has waited in vain for its rest.
func (d *datagrams) late(e *decode.PacketEvent, now time.Time) ([]byte, bool) {
	if len(*d) == 0 || now.Sub((*d)[0].since) < patience {
		return nil, false
	}
	return d.end(0, e), true
}

// end takes a datagram out, as far as it goes.
func (d *datagrams) end(at int, e *decode.PacketEvent) []byte {
	p := (*d)[at]
	*d = slices.Delete(*d, at, at+1)
	*e = p.head
	e.Captured, e.Missing = uint16(len(p.data)), e.Ack-uint32(len(p.data))
	return p.data
}
