package decode

import (
	"fmt"
	"unsafe"
)

// Frame reads a packet that passed a device into e and returns its bytes, which are
// part of b; behind them may be anything.
func Frame(b []byte, e *FrameEvent) (frame []byte, err error) {
	if !pod(b, e) {
		return nil, fmt.Errorf("frame of %d bytes: %w", len(b), ErrShort)
	}
	tail := b[unsafe.Sizeof(*e):]
	if uint64(e.Captured) > uint64(len(tail)) {
		return nil, fmt.Errorf("frame with %d of %d bytes: %w", len(tail), e.Captured, ErrShort)
	}
	return tail[:e.Captured], nil
}

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
