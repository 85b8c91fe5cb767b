package hook

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/decode"
)

// rowOf is a row of a datagram that was sent at a moment and has so many bytes:
// those from seq on.
func rowOf(sent uint64, length, seq, n uint32) *decode.PacketEvent {
	e := &decode.PacketEvent{Time: sent, Seq: seq, Ack: length, Captured: uint16(n)}
	e.Proto = protoUDP
	return e
}

func TestDatagrams(t *testing.T) {
	segment := &decode.PacketEvent{Seq: 4000, Ack: 9000, Captured: 10}
	segment.Proto = 6
	cut := rowOf(1, 5000, 0, 0)
	cut.Missing = 4096
	unread := rowOf(1, 10000, 4096, 0)
	unread.Missing = 4096
	type rows []*decode.PacketEvent
	for name, c := range map[string]struct {
		rows rows
		want []string // when it was sent, bytes here, bytes missing
	}{
		"small":             {rows{rowOf(1, 100, 0, 100)}, []string{"1: 100, 0"}},
		"empty":             {rows{rowOf(1, 0, 0, 0)}, []string{"1: 0, 0"}},
		"segment":           {rows{segment}, []string{"0: 10, 0"}},
		"two rows":          {rows{rowOf(1, 5000, 0, 4096), rowOf(1, 5000, 4096, 904)}, []string{"1: 5000, 0"}},
		"the largest":       {append(rows{}, many(1, 65507)...), []string{"1: 65507, 0"}},
		"two CPUs":          {rows{rowOf(1, 5000, 0, 4096), rowOf(2, 6000, 0, 4096), rowOf(2, 6000, 4096, 1904), rowOf(1, 5000, 4096, 904)}, []string{"2: 6000, 0", "1: 5000, 0"}},
		"beginning lost":    {rows{rowOf(1, 5000, 4096, 904), rowOf(2, 10, 0, 10)}, []string{"2: 10, 0"}},
		"middle lost":       {rows{rowOf(1, 10000, 0, 4096), rowOf(1, 10000, 8192, 1808), rowOf(2, 10, 0, 10)}, []string{"1: 4096, 5904", "2: 10, 0"}},
		"end lost":          {rows{rowOf(1, 5000, 0, 4096), rowOf(2, 10, 0, 10)}, []string{"2: 10, 0", "1: 4096, 904"}},
		"middle unreadable": {rows{rowOf(1, 10000, 0, 4096), unread, rowOf(1, 10000, 8192, 1808)}, []string{"1: 4096, 5904"}},
		"begin unreadable":  {rows{cut, rowOf(1, 5000, 4096, 904)}, []string{"1: 0, 5000"}},
	} {
		var d datagrams
		var got []string
		now := time.Unix(1, 0)
		tell := func(e *decode.PacketEvent, payload []byte) {
			got = append(got, fmt.Sprintf("%d: %d, %d", e.Time, len(payload), e.Missing))
			if int(e.Captured) != len(payload) || e.Seq != 0 && e.Proto == protoUDP {
				t.Errorf("%s: got %d bytes captured from %d on, want %d from 0", name, e.Captured, e.Seq, len(payload))
			}
		}
		for _, r := range c.rows {
			e := *r
			if payload, ok := d.add(&e, bytes.Repeat([]byte{1}, int(r.Captured)), now); ok {
				tell(&e, payload)
			}
		}
		var e decode.PacketEvent
		if _, ok := d.late(&e, now.Add(patience-1)); ok {
			t.Errorf("%s: a datagram was given up too early", name)
		}
		for payload, ok := d.late(&e, now.Add(patience)); ok; payload, ok = d.late(&e, now.Add(patience)) {
			tell(&e, payload)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// many is the rows of a datagram.
func many(sent uint64, length uint32) (list []*decode.PacketEvent) {
	const row = 4096
	for at := uint32(0); at < length; at += row {
		list = append(list, rowOf(sent, length, at, min(row, length-at)))
	}
	return list
}

// TestManyDatagrams: those that lost their rest make room.
func TestManyDatagrams(t *testing.T) {
	var d datagrams
	for i := range uint64(maxParts + 3) {
		e := rowOf(i, 5000, 0, 4096)
		payload, ok := d.add(e, make([]byte, 4096), time.Unix(1, 0))
		if ok != (i >= maxParts) || ok && (e.Time != i-maxParts || e.Missing != 904 || len(payload) != 4096) {
			t.Fatalf("datagram %d: got %v, %d bytes of the one of %d with %d missing", i, ok, len(payload), e.Time, e.Missing)
		}
	}
	if len(d) != maxParts {
		t.Errorf("got %d that wait, want %d", len(d), maxParts)
	}
}
