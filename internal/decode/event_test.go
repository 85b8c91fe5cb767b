package decode

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// sampled returns the bytes of an event as the ring has them: the struct, the head
// of a packet that counts up, and a stack of the addresses given.
func sampled(e DropEvent, stack ...uint64) []byte {
	b := append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&e)), unsafe.Sizeof(e))...)
	b = append(b, counting()...)
	for _, addr := range stack {
		b = binary.NativeEndian.AppendUint64(b, addr)
	}
	return b
}

// someEvent has a different value in every member.
func someEvent() DropEvent {
	e := DropEvent{
		Key: DropKey{
			Tuple:    Tuple{Src: [16]byte{1}, Dst: [16]byte{2}, SrcPort: 3, DstPort: 4, EthProto: 5, Proto: 6, Flags: 7},
			Location: 8, Reason: 9, NetNS: 10, IfIndex: 11, SocketState: 12,
		},
		Time: 13, OwnerStart: 14, PID: 15, Length: 16, Packets: 17, Bytes: 18, RcvBuf: -19, RMem: -20,
		PacketLen: PacketLen - 1, PacketRoom: PacketLen, L3: 22, EthProto: 23, TCPFlags: 24, HasLink: 25, Whole: 26, Tag: 27,
	}
	return e
}

// counting is bytes that count up, as many as there is room for a packet.
func counting() []byte {
	b := make([]byte, PacketLen)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestSizes(t *testing.T) {
	if got := int(unsafe.Sizeof(DropEvent{})); got != eventLen {
		t.Errorf("eventLen: got %d, want %d", eventLen, got)
	}
	if got := int(unsafe.Sizeof(OpenSocket{})); got != openSocketLen {
		t.Errorf("openSocketLen: got %d, want %d", openSocketLen, got)
	}
}

func TestEvent(t *testing.T) {
	want := someEvent()
	want.Frames = 3
	old := make([]uint64, 1, 8)
	got := Sample{Stack: old}
	if err := Event(sampled(want, 0xffffffff81000001, 2, 3), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Sample{want, counting()[:PacketLen-1], []uint64{0xffffffff81000001, 2, 3}}, got); diff != "" {
		t.Errorf("sample (-want +got):\n%s", diff)
	}
	if &got.Stack[0] != &old[:1][0] {
		t.Error("the stack's storage was not used again")
	}
	// Without room for a stack of 32 the program reserves that much anyway:
	// what lies behind the frames is nothing.
	want.Frames = 1
	if err := Event(sampled(want, 1, 2, 3), &got); err != nil || len(got.Stack) != 1 {
		t.Errorf("a stack shorter than its room: got %v, error %v; want [1]", got.Stack, err)
	}
}

func TestEventShort(t *testing.T) {
	e := someEvent()
	e.Frames = 2
	whole := sampled(e, 1, 2)
	for n := range len(whole) {
		var got Sample
		err := Event(whole[:n], &got)
		if !errors.Is(err, ErrShort) || len(got.Stack) != 0 || got.Packet != nil {
			t.Errorf("%d of %d bytes: got %v, error %v; want ErrShort", n, len(whole), got, err)
		}
	}
}

func TestEventBadLengths(t *testing.T) {
	bad := func(change func(*DropEvent)) {
		t.Helper()
		e := someEvent()
		change(&e)
		var got Sample
		err := Event(sampled(e, make([]uint64, 255)...), &got)
		if !errors.Is(err, ErrShort) || len(got.Stack) != 0 || got.Packet != nil {
			t.Errorf("packet %d of %d, frames %d: got %d frames, error %v; want ErrShort", e.PacketLen, e.PacketRoom, e.Frames, len(got.Stack), err)
		}
	}
	bad(func(e *DropEvent) { e.PacketLen = PacketLen + 1 })
	bad(func(e *DropEvent) { e.PacketLen = math.MaxUint16 })
	bad(func(e *DropEvent) { e.PacketRoom = PacketLen - 2 })
	bad(func(e *DropEvent) { e.PacketRoom = math.MaxUint16 })
	bad(func(e *DropEvent) { e.Frames = StackLen + 1 })
	bad(func(e *DropEvent) { e.Frames = 255 })
}

func TestSocket(t *testing.T) {
	want := OpenSocket{Tuple: someEvent().Key.Tuple, Owner: OwnerRef{Start: 1, PID: 2, NetNS: 3}}
	row := unsafe.Slice((*byte)(unsafe.Pointer(&want)), unsafe.Sizeof(want))
	rows := append(append([]byte(nil), row...), row...)
	for n := range 2 {
		var got OpenSocket
		var err error
		if rows, err = Socket(rows, &got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("row %d: got %+v, want %+v", n, got, want)
		}
	}
	if len(rows) != 0 {
		t.Errorf("got %d bytes behind the last row, want none", len(rows))
	}
	for n := range len(row) {
		var got OpenSocket
		if rest, err := Socket(row[:n], &got); !errors.Is(err, ErrShort) || rest != nil {
			t.Errorf("%d bytes: got rest %v, error %v; want ErrShort", n, rest, err)
		}
	}
}

func FuzzEvent(f *testing.F) {
	e := someEvent()
	e.Frames = 2
	f.Add(sampled(e, 1, 2))
	f.Add(sampled(someEvent()))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Sample
		err := Event(b, &e)
		switch {
		case err != nil && !errors.Is(err, ErrShort):
			t.Errorf("got error %v, want ErrShort", err)
		case err != nil && len(e.Stack)+len(e.Packet) != 0:
			t.Errorf("got %d bytes and %d frames with error %v", len(e.Packet), len(e.Stack), err)
		case err == nil && (len(e.Stack) != int(e.Frames) || len(e.Packet) != int(e.PacketLen) || len(b) < eventLen+len(e.Packet)+8*len(e.Stack)):
			t.Errorf("%d bytes: took a packet of %d and %d of %d frames", len(b), e.PacketLen, len(e.Stack), e.Frames)
		}
		if err == nil {
			Inner(&e) // must not panic, whatever the lengths
		}
	})
}
