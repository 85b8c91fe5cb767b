package capture

import (
	"context"
	"errors"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/net/bpf"

	"github.com/netfate/netfate/internal/filter"
)

// Filter selects frames by a pcap-filter expression. It looks at a frame from its
// outside, as tcpdump does: port 80 is not what a tunnel has inside, and of
// fragments only the first has ports. It is for one goroutine.
type Filter struct {
	expr    string
	compile func(layers.LinkType) ([]bpf.RawInstruction, error)
	code    map[layers.LinkType][]bpf.RawInstruction // of the links seen so far; nil matches nothing
}

// NewFilter compiles expr for Ethernet, and for other links when their first frame
// comes, for as long as ctx is good. An expression that libpcap refuses gives a
// *filter.SyntaxError.
func NewFilter(ctx context.Context, expr string) (*Filter, error) {
	f := &Filter{expr: expr, code: map[layers.LinkType][]bpf.RawInstruction{}}
	f.compile = func(link layers.LinkType) ([]bpf.RawInstruction, error) {
		kind, _ := dataLink(link)
		return filter.Compile(ctx, expr, kind, filter.DefaultSnaplen)
	}
	code, err := f.compile(layers.LinkTypeEthernet)
	f.code[layers.LinkTypeEthernet] = code
	return f, err
}

// dataLink is what libpcap calls a link type at run time; in files three kinds of
// raw IP have numbers of their own (pcap-common.c). Before IP there may be four
// bytes, an address family by the numbers of whoever captured, which say nothing
// that the packet does not say itself.
func dataLink(link layers.LinkType) (_ filter.Link, skip int) {
	switch link {
	case layers.LinkTypeRaw, layers.LinkTypeIPv4, layers.LinkTypeIPv6, rawOpenBSD:
		return filter.Raw, 0
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		return filter.Raw, 4
	}
	return filter.Link(link), 0
}

// rawOpenBSD is OpenBSD's number for raw IP.
const rawOpenBSD layers.LinkType = 14

// matches reports whether f selects a frame; nil selects all. An expression that
// means nothing on a link, ether on raw IP, selects none of its frames.
func (f *Filter) matches(of *frame) (bool, error) {
	if f == nil {
		return true, nil
	}
	code, err := f.of(of.link)
	if err != nil {
		return false, err
	}
	_, skip := dataLink(of.link)
	skip = min(skip, len(of.bytes))
	return filter.Matches(code, of.bytes[skip:], of.length-skip), nil
}

// of returns the program for a link; nil matches nothing.
func (f *Filter) of(link layers.LinkType) ([]bpf.RawInstruction, error) {
	code, ok := f.code[link]
	if ok {
		return code, nil
	}
	code, err := f.compile(link)
	var refused *filter.SyntaxError
	if err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	f.code[link] = code
	return code, nil
}
