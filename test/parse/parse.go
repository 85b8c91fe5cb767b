// Package parse is the parser of the BPF programs, bpf/lib/parse.h, built for
// this machine, so that it can be fuzzed and held against another parser. Only
// its own tests import it. It needs cgo.
package parse

/*
#cgo CFLAGS: -O2 -Wall
#include "native.h"

static bool native_parse(const void *data, __u32 len, struct packet *p, struct tuple *t)
{
	struct cursor c = { .data = data, .len = len };

	return parse(&c, p, t);
}
*/
import "C"

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/decode"
)

// Packet is what the parser says of a packet besides its tuple. Offsets are
// bytes from the beginning.
type Packet struct {
	L3, L4, Payload uint16
	TCPFlags        uint8
	Fragment        uint8 // 1: any fragment; 2: not the first
}

// Guarded is memory with a page behind it that nobody may read: a parser that
// reads one byte too many ends the process. It belongs to one goroutine.
type Guarded struct {
	all  []byte
	size int // before the page that guards
}

// NewGuarded returns room for packets of up to size bytes. Close gives it back.
func NewGuarded(size int) (*Guarded, error) {
	page := os.Getpagesize()
	size = (size + page - 1) / page * page
	all, err := unix.Mmap(-1, 0, size+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("map guarded memory: %w", err)
	}
	g := &Guarded{all, size}
	if err := unix.Mprotect(all[size:], unix.PROT_NONE); err != nil {
		return nil, fmt.Errorf("guard memory: %w", err)
	}
	return g, nil
}

// Close unmaps the memory.
func (g *Guarded) Close() error { return unix.Munmap(g.all) }

// Parse parses a packet whose first byte is that of its network header, or of
// the VLAN tag before it, as ethProto says. What is longer than the room is cut.
// ok is what the parser returns: an IP header was found.
func (g *Guarded) Parse(packet []byte, ethProto uint16) (p Packet, t decode.Tuple, ok bool) {
	n := min(len(packet), g.size)
	at := g.all[g.size-n : g.size]
	copy(at, packet)
	var cp C.struct_packet
	ct := C.struct_tuple{eth_proto: C.__u16(ethProto)}
	found := C.native_parse(unsafe.Pointer(unsafe.SliceData(at)), C.__u32(n), &cp, &ct)
	p = Packet{
		L3: uint16(cp.l3), L4: uint16(cp.l4), Payload: uint16(cp.payload),
		TCPFlags: uint8(cp.tcp_flags), Fragment: uint8(cp.fragment),
	}
	// A test of internal/decode holds the two structs against each other.
	return p, *(*decode.Tuple)(unsafe.Pointer(&ct)), bool(found)
}
