package clickhouse

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/klauspost/compress/gzip"
)

// maxBatch is how many rows a batch has at the most: a server takes so many whole or not
// at all, and their numbers are of 16 bits.
const maxBatch = 1 << 16

// day is the seconds of a partition.
const day = 24 * 3600

// batch is rows of one kind and one day that are inserted at once.
type batch struct {
	ID     string `json:"id"` // that of no other
	Table  string `json:"table"`
	Insert string `json:"insert"` // the statement
	Rows   uint64 `json:"rows"`
	Since  uint32 `json:"since"` // the oldest row, in seconds
	Until  uint32 `json:"until"` // the newest one
	body   []byte // RowBinary, compressed by gzip
}

// newID returns a number that no other batch has: 128 random bits.
func newID() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // it never fails
	return hex.EncodeToString(raw[:])
}

// seal makes batches of the rows of all kinds, and forgets these.
func (m *minutes) seal() (all []*batch, err error) {
	for i, k := range m.kinds {
		byDay := map[uint32][]int{}
		for row, key := range m.tables[i].keys {
			d := minuteOf(key) / day
			byDay[d] = append(byDay[d], row)
		}
		for _, rows := range byDay {
			for part := range slices.Chunk(rows, maxBatch) {
				b, err := k.seal(&m.tables[i], part)
				if err != nil {
					return nil, fmt.Errorf("make a batch of %s: %w", k.name, err)
				}
				all = append(all, b)
			}
		}
	}
	m.clear()
	return all, nil
}

// minuteOf is the time that a key begins with, in seconds.
func minuteOf(key string) uint32 { return binary.LittleEndian.Uint32([]byte(key[:4])) }

func (k *kind) seal(p *pending, rows []int) (*batch, error) {
	b := &batch{ID: newID(), Table: k.name, Insert: k.insert(), Rows: uint64(len(rows)), Since: minuteOf(p.keys[rows[0]])}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	var buf []byte
	for n, row := range rows {
		key := p.keys[row]
		b.Since, b.Until = min(b.Since, minuteOf(key)), max(b.Until, minuteOf(key))
		buf = append(buf[:0], key...)
		cells := p.cells[row*len(k.rest):][:len(k.rest)]
		for j, i := range k.rest {
			buf = cells[j].append(buf, &k.columns[i])
		}
		buf = appendText(buf, b.ID)
		buf = binary.LittleEndian.AppendUint16(buf, uint16(n))
		if _, err := z.Write(buf); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	b.body = out.Bytes()
	return b, nil
}
