package table

import "github.com/netfate/netfate/internal/decode"

// Drop is what was lost under one key in one interval. Times are
// CLOCK_MONOTONIC ns.
type Drop struct {
	Packets, Bytes, Buffers uint64
	First, Last             uint64
	Owner                   decode.OwnerRef
	TCPFlags                uint8
}

// Drops adds up what the drop sensor read. It belongs to one goroutine. The
// zero value is not ready; see NewDrops.
type Drops struct {
	rows map[decode.DropKey]Drop
}

// NewDrops returns an empty table.
func NewDrops() *Drops { return &Drops{rows: map[decode.DropKey]Drop{}} }

// Len returns the number of rows so far in this interval.
func (t *Drops) Len() int { return len(t.rows) }

// Add adds counts under a key. last is the time of the last one on the
// monotonic clock.
func (t *Drops) Add(k *decode.DropKey, c *decode.DropCount, last uint64) {
	row := t.rows[*k]
	row.Packets += c.Packets
	row.Bytes += c.Bytes
	row.Buffers += c.Buffers
	row.TCPFlags |= c.TCPFlags
	if row.First == 0 || c.First < row.First {
		row.First = c.First
	}
	row.Last = max(row.Last, last)
	if row.Owner.PID == 0 {
		row.Owner = decode.OwnerRef{Start: c.OwnerStart, PID: c.PID, NetNS: k.NetNS}
	}
	t.rows[*k] = row
}

// Each visits every row so far. The pointers are good until visit returns.
func (t *Drops) Each(visit func(*decode.DropKey, *Drop)) {
	for k, row := range t.rows {
		visit(&k, &row)
	}
}

// Roll ends the interval: it visits every row and empties the table. The
// pointers are good until visit returns.
func (t *Drops) Roll(visit func(*decode.DropKey, *Drop)) {
	t.Each(visit)
	clear(t.rows)
}

// PairOfDrop returns the pair that a drop hit: the local side of what went out
// is its source, of what came in its destination. What was to be forwarded is
// known by the interface that it came in by.
func PairOfDrop(k *decode.DropKey) Pair {
	sent := k.Flags&decode.DropDirection == decode.DropOut
	return PairOf(&k.Tuple, k.NetNS, sent, k.Flags&decode.DropOther != 0)
}
