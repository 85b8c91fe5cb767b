package decode

import (
	"fmt"
	"unsafe"
)

// Packet reads a row of copied packets into e and returns its payload, which is
// part of b.
func Packet(b []byte, e *PacketEvent) (payload []byte, err error) {
	if !pod(b, e) {
		return nil, fmt.Errorf("packet of %d bytes: %w", len(b), ErrShort)
	}
	tail := b[unsafe.Sizeof(*e):]
	if int(e.Captured) > len(tail) {
		return nil, fmt.Errorf("packet with %d of %d bytes: %w", len(tail), e.Captured, ErrShort)
	}
	return tail[:e.Captured], nil
}
