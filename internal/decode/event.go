package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrShort says that the bytes end before the struct does: the object and this
// program are not of the same version, or the memory was not ours.
var ErrShort = errors.New("record is cut short")

// Sample is a dropped buffer whole: with the head of its packet, and the addresses
// of its stack, innermost first.
type Sample struct {
	DropEvent
	Packet []byte
	Stack  []uint64
}

// Event reads a sample from the ring into s, whose Packet is then part of b and
// whose Stack's storage is used again.
func Event(b []byte, s *Sample) error {
	s.Packet, s.Stack = nil, s.Stack[:0]
	if !pod(b, &s.DropEvent) {
		return fmt.Errorf("drop event of %d bytes: %w", len(b), ErrShort)
	}
	tail := b[eventLen:]
	if s.PacketLen > s.PacketRoom || int(s.PacketRoom) > len(tail) {
		return fmt.Errorf("drop event with a packet of %d bytes: %w", s.PacketLen, ErrShort)
	}
	frames, stack := int(s.Frames), tail[s.PacketRoom:]
	if frames > StackLen || len(stack) < frames*8 {
		return fmt.Errorf("drop event with %d frames: %w", frames, ErrShort)
	}
	for i := range frames {
		s.Stack = append(s.Stack, binary.NativeEndian.Uint64(stack[i*8:]))
	}
	s.Packet = tail[:s.PacketLen]
	return nil
}

const eventLen = 128

// Socket reads the next row of the socket iterator's output and returns what
// follows it.
func Socket(b []byte, s *OpenSocket) ([]byte, error) {
	if !pod(b, s) {
		return nil, fmt.Errorf("socket row of %d bytes: %w", len(b), ErrShort)
	}
	return b[openSocketLen:], nil
}

const openSocketLen = 56
