package decode

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// sampled returns the bytes of an event as the ring has them: the struct, and
// a stack of the addresses given.
func sampled(e DropEvent, stack ...uint64) []byte {
	b := append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&e)), unsafe.Sizeof(e))...)
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
		PacketLen: PacketLen, L3: 22, EthProto: 23, TCPFlags: 24, HasLink: 25,
	}
	for i := range e.Packet {
		e.Packet[i] = byte(i)
	}
	return e
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
	var got DropEvent
	old := make([]uint64, 1, 8)
	stack, err := Event(sampled(want, 0xffffffff81000001, 2, 3), &got, old)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]uint64{0xffffffff81000001, 2, 3}, stack); diff != "" {
		t.Errorf("stack (-want +got):\n%s", diff)
	}
	if &stack[0] != &old[:1][0] {
		t.Error("the stack's storage was not used again")
	}
	// Without room for a stack of 32 the program reserves that much anyway:
	// what lies behind the frames is nothing.
	want.Frames = 1
	stack, err = Event(sampled(want, 1, 2, 3), &got, stack)
	if err != nil || len(stack) != 1 {
		t.Errorf("a stack shorter than its room: got %v, error %v; want [1]", stack, err)
	}
}

func TestEventShort(t *testing.T) {
	e := someEvent()
	e.Frames = 2
	whole := sampled(e, 1, 2)
	for n := range len(whole) {
		var got DropEvent
		stack, err := Event(whole[:n], &got, nil)
		if !errors.Is(err, ErrShort) || len(stack) != 0 {
			t.Errorf("%d of %d bytes: got %v, error %v; want ErrShort", n, len(whole), stack, err)
		}
	}
}

func TestEventBadLengths(t *testing.T) {
	bad := func(change func(*DropEvent)) {
		t.Helper()
		e := someEvent()
		change(&e)
		var got DropEvent
		stack, err := Event(sampled(e, make([]uint64, 255)...), &got, nil)
		if !errors.Is(err, ErrShort) || len(stack) != 0 {
			t.Errorf("packet %d, frames %d: got %d frames, error %v; want ErrShort", e.PacketLen, e.Frames, len(stack), err)
		}
	}
	bad(func(e *DropEvent) { e.PacketLen = PacketLen + 1 })
	bad(func(e *DropEvent) { e.PacketLen = math.MaxUint16 })
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
		var e DropEvent
		stack, err := Event(b, &e, nil)
		switch {
		case err != nil && !errors.Is(err, ErrShort):
			t.Errorf("got error %v, want ErrShort", err)
		case err != nil && len(stack) != 0:
			t.Errorf("got %d frames with error %v", len(stack), err)
		case err == nil && (len(stack) != int(e.Frames) || e.PacketLen > PacketLen || len(b) < eventLen+8*len(stack)):
			t.Errorf("%d bytes: took a packet of %d and %d of %d frames", len(b), e.PacketLen, len(stack), e.Frames)
		}
		if err == nil {
			Inner(&e) // must not panic, whatever the lengths
		}
	})
}
