// Package filter turns pcap-filter expressions, as tcpdump takes them, into programs: classic BPF from libpcap's own
// compiler, eBPF for the kernel from that, and a matcher for packets read from files.
//
// libpcap runs as a WebAssembly module inside the process, so that netfate stays one static binary without cgo and a bad
// expression is answered in libpcap's words. docs/filter.md has the reasons and what was rejected.
//
// The package knows expressions and instructions, nothing of sensors, links or records. Sensors and the agent may
// import it.
package filter

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/net/bpf"
)

// Link says where a packet begins. The values are libpcap's DLT_ numbers of the link types.
type Link int

const (
	// Ethernet is a packet that begins with its Ethernet header (DLT_EN10MB).
	Ethernet Link = 1
	// Raw is a packet that begins with its IPv4 or IPv6 header (DLT_RAW).
	Raw Link = 12
)

// DefaultSnaplen is the snapshot length in bytes that tcpdump compiles with. A compiled program returns it for a match.
const DefaultSnaplen = 262144

// SyntaxError is an expression that libpcap refuses. The user is the one to mend it: a command that gets it has been
// called wrongly.
type SyntaxError struct {
	// Expr is the expression as it was given.
	Expr string
	// Message is libpcap's own message, word for word. Two are ours, for what libpcap compiles and a BPF program in the
	// kernel cannot do: "protochain", which needs a loop, and offsets outside of the packet ("ether[-4096]").
	Message string
	// Hint says what to write instead, where libpcap's message does not tell why. It may be empty.
	Hint string
}

// Error returns libpcap's message, and nothing else.
func (e *SyntaxError) Error() string { return e.Message }

// Pair is one expression compiled for both link types. A nil *Pair is the empty expression and matches every packet. A
// Pair does not change and may be used from several goroutines.
type Pair struct {
	// Ethernet judges packets with an Ethernet header.
	Ethernet []bpf.RawInstruction
	// Raw judges packets that begin with the IP header. It is nil if the expression has no meaning there ("ether host
	// …", "vlan"); such an expression never matches a packet without a link header.
	Raw []bpf.RawInstruction
}

// Compile compiles expr for packets of the link type, as tcpdump does with its optimiser on and no netmask known. An
// empty expression gives a program that matches every packet. An expression that libpcap refuses gives a *SyntaxError;
// any other error means that the compiler did not get to an answer, ctx ended for one.
func Compile(ctx context.Context, expr string, link Link, snaplen int) ([]bpf.RawInstruction, error) {
	c, err := newCompiler(ctx, len(expr))
	if err != nil {
		return nil, err
	}
	code, err := c.compile(ctx, expr, link, snaplen)
	return code, errors.Join(err, c.close(ctx))
}

// Programs compiles expr for both link types, with one start of the compiler. It returns nil, which matches everything,
// for an expression of nothing but space. Errors are those of [Compile]; what counts is the Ethernet program, see
// [Pair].
func Programs(ctx context.Context, expr string) (*Pair, error) {
	if strings.TrimSpace(expr) == "" {
		return nil, nil
	}
	c, err := newCompiler(ctx, len(expr))
	if err != nil {
		return nil, err
	}
	p, err := c.pair(ctx, expr)
	if err := errors.Join(err, c.close(ctx)); err != nil {
		return nil, err
	}
	return p, nil
}

// pair compiles for both. What libpcap refuses for Ethernet is refused, since every packet has a link header somewhere.
func (c *compiler) pair(ctx context.Context, expr string) (*Pair, error) {
	ethernet, err := c.compile(ctx, expr, Ethernet, DefaultSnaplen)
	if err != nil {
		return nil, err
	}
	raw, err := c.compile(ctx, expr, Raw, DefaultSnaplen)
	var refused *SyntaxError
	if err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	return &Pair{Ethernet: ethernet, Raw: raw}, nil
}

// Program returns the program for the link type. It is nil, which matches no packet, where the expression has no
// meaning for that link type. Don't call it on a nil Pair, which has no programs.
func (p *Pair) Program(link Link) []bpf.RawInstruction {
	if link == Ethernet {
		return p.Ethernet
	}
	return p.Raw
}
