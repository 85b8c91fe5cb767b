package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrShort says that the bytes end before the struct does: the object and this
// program are not of the same version, or the memory was not ours.
var ErrShort = errors.New("record is cut short")

// Event reads a sample from the ring into e and the addresses of its stack,
// innermost first, into stack, whose storage is used again. The rest of e's
// Packet beyond PacketLen is undefined.
func Event(b []byte, e *DropEvent, stack []uint64) ([]uint64, error) {
	stack = stack[:0]
	if !pod(b, e) {
		return stack, fmt.Errorf("drop event of %d bytes: %w", len(b), ErrShort)
	}
	if e.PacketLen > PacketLen {
		return stack, fmt.Errorf("drop event with a packet of %d bytes: %w", e.PacketLen, ErrShort)
	}
	frames := int(e.Frames)
	tail := b[eventLen:]
	if frames > StackLen || len(tail) < frames*8 {
		return stack, fmt.Errorf("drop event with %d frames: %w", frames, ErrShort)
	}
	for i := range frames {
		stack = append(stack, binary.NativeEndian.Uint64(tail[i*8:]))
	}
	return stack, nil
}

const eventLen = 120 + PacketLen

// Socket reads the next row of the socket iterator's output and returns what
// follows it.
func Socket(b []byte, s *OpenSocket) ([]byte, error) {
	if !pod(b, s) {
		return nil, fmt.Errorf("socket row of %d bytes: %w", len(b), ErrShort)
	}
	return b[openSocketLen:], nil
}

const openSocketLen = 56
