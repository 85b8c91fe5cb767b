package capture

import (
	"context"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/net/bpf"

	"github.com/netfate/netfate/internal/wire"
)

// Live says what packets to read as they come.
type Live struct {
	Interface   string
	NetNS       string // path of its namespace; empty is this one
	Promiscuous bool   // frames for other hosts too
	Interval    time.Duration
	Filter      *Filter // nil selects all
}

// Listen begins to read packets of TCP and UDP of an interface, until ctx is done:
// then Next returns what came until then, and io.EOF. There is a batch for every
// interval, whether anything came or not. The caller closes the Source.
func Listen(ctx context.Context, l Live, decoders ...Decoder) (*Source, error) {
	cfg := wire.Config{Interface: l.Interface, NetNS: l.NetNS, Promiscuous: l.Promiscuous}
	if l.Filter != nil {
		cfg.Filter = l.Filter.program
	}
	w, err := wire.Open(cfg)
	if err != nil {
		return nil, err
	}
	s := newSource(&live{w, ctx, l.Interface}, decoders)
	s.interval = l.Interval
	s.Select(l.Filter)
	return s, nil
}

// program is the filter of frames of a link.
func (f *Filter) program(link layers.LinkType) ([]bpf.RawInstruction, error) {
	code, err := f.of(link)
	if err == nil && code == nil {
		return bpf.Assemble([]bpf.Instruction{bpf.RetConstant{}})
	}
	return code, err
}

// live is an interface as frames.
type live struct {
	wire  *wire.Wire
	ctx   context.Context
	iface string
}

func (l *live) next() (frame, error) {
	f, err := l.wire.Next(l.ctx)
	return frame{at: f.Time, link: l.wire.Link(), bytes: f.Bytes, length: f.Length, iface: l.iface, tick: f.Bytes == nil}, err
}

func (l *live) dropped() (uint64, string, error) {
	n, err := l.wire.Dropped()
	return n, "netfate did not keep up: packets of the interface were not read", err
}

func (l *live) Close() error { return l.wire.Close() }
