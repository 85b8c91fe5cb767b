package quic

import (
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"
)

// The versions whose first packets can be read: those of RFC 9000 and RFC 9369.
const (
	version1 = 1
	version2 = 0x6b3343cf
)

// kind is what a packet with a long header is, as version 1 numbers it.
type kind uint8

const (
	kindInitial kind = iota
	kindEarly
	kindHandshake
	kindRetry
)

const (
	longHeader = 0x80 // bit of the first byte
	fixedBit   = 0x40 // set in every packet, unless both sides agreed otherwise
	maxID      = 20   // bytes of a connection's id
)

// long is a packet with a long header (RFC 9000, section 17.2).
type long struct {
	version uint32
	kind    kind
	dst     []byte // id that its receiver gave the connection, or that its first sender made up
	number  int    // where its number is
	packet  []byte // from its header to its end, or to that of what was captured
	cut     bool   // it goes on
}

// readLong reads the header of the packet that b begins with, and returns what
// is behind the packet in the same datagram. ok is false if it is none, or of
// another version.
func readLong(b []byte) (p long, rest []byte, ok bool) {
	s := cryptobyte.String(b)
	var first uint8
	var dst, src, token cryptobyte.String
	if !s.ReadUint8(&first) || first&longHeader == 0 || !s.ReadUint32(&p.version) ||
		!s.ReadUint8LengthPrefixed(&dst) || !s.ReadUint8LengthPrefixed(&src) || len(dst) > maxID || len(src) > maxID {
		return p, nil, false
	}
	p.kind, p.dst = kind(first>>4&3), dst
	switch p.version {
	case version1:
	case version2:
		p.kind = (p.kind + 3) & 3 // RFC 9369, section 3.2
	default:
		return p, nil, false
	}
	if p.kind == kindRetry { // which has no length, and is alone
		p.packet = b
		return p, nil, true
	}
	if p.kind == kindInitial {
		n, ok := readNumber(&s)
		if !ok || n > uint64(len(s)) || !s.ReadBytes((*[]byte)(&token), int(n)) {
			return p, nil, false
		}
	}
	n, ok := readNumber(&s)
	if !ok {
		return p, nil, false
	}
	p.number = len(b) - len(s)
	if n > uint64(len(s)) {
		p.packet, p.cut = b, true
		return p, nil, true
	}
	p.packet = b[:p.number+int(n)]
	return p, b[len(p.packet):], true
}

// readNumber reads an integer of variable length (RFC 9000, section 16).
func readNumber(s *cryptobyte.String) (n uint64, ok bool) {
	var b [8]byte
	if s.Empty() {
		return 0, false
	}
	size := 1 << ((*s)[0] >> 6)
	if !s.CopyBytes(b[8-size:]) {
		return 0, false
	}
	b[8-size] &= 0x3f
	return binary.BigEndian.Uint64(b[:]), true
}
