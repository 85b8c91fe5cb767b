//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"runtime"
	"unsafe"

	"github.com/duckdb/duckdb-go/mapping"
)

// append stores rows of a kind at one resolution, and says which span they have: as
// minutes, unless they are so old that those were given up, and of the others those
// that come too late to be rolled up.
func (f *file) append(k *kind, i int, r resolution, p *pending) (have span, err error) {
	have = noSpan()
	var wanted []int
	for row, minute := range p.minute {
		if minute >= f.marks.since[i] && minute < f.marks.until[i] {
			have.add(span{minute, minute}.stepOf(r.step))
			wanted = append(wanted, row)
		}
	}
	if len(wanted) == 0 {
		return have, nil
	}
	return have, f.writer.Raw(func(conn any) (err error) {
		a, err := newAppender(conn, k.table(r))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, a.close()) }()
		return a.rows(p, wanted, k, f.order[k.table(r)], r.step)
	})
}

// appender fills chunks of a table's columns, in the memory of DuckDB. The driver has
// one that takes a row at a time; each of its texts takes three calls of C, and each
// null one, which is more than all else that becomes of a row.
type appender struct {
	to    mapping.Appender
	types []mapping.LogicalType
	chunk mapping.DataChunk
	heap  []byte // of texts that do not fit into their cell
	pin   runtime.Pinner
}

// newAppender returns one for a table; it appends in the transaction of the
// connection, and is closed by its owner.
func newAppender(conn any, table string) (*appender, error) {
	c, err := handle(conn)
	if err != nil {
		return nil, err
	}
	a := &appender{}
	if mapping.AppenderCreateExt(c, "", "", table, &a.to) == mapping.StateError {
		return nil, errors.Join(a.failed("open appender"), a.close())
	}
	for i := range mapping.AppenderColumnCount(a.to) {
		a.types = append(a.types, mapping.AppenderColumnType(a.to, i))
	}
	a.chunk = mapping.CreateDataChunk(a.types)
	return a, nil
}

// handle is a connection of the driver as the C interface has it, which the driver
// keeps to itself.
func handle(conn any) (mapping.Connection, error) {
	v := reflect.ValueOf(conn)
	if v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		if c := v.Elem().FieldByName("conn"); c.IsValid() && c.Type() == reflect.TypeFor[mapping.Connection]() {
			return mapping.Connection{Ptr: c.FieldByName("Ptr").UnsafePointer()}, nil
		}
	}
	return mapping.Connection{}, fmt.Errorf("the driver's %T has no connection where duckdb-go 2.5.4 has it", conn)
}

// failed is what DuckDB says of the appender.
func (a *appender) failed(what string) error {
	data := mapping.AppenderErrorData(a.to)
	defer mapping.DestroyErrorData(&data)
	return fmt.Errorf("%s: %s", what, mapping.ErrorDataMessage(data))
}

// close gives the memory back. What was appended is in the table when rows
// returns.
func (a *appender) close() (err error) {
	if a.chunk.Ptr != nil {
		mapping.DestroyDataChunk(&a.chunk)
	}
	for i := range a.types {
		mapping.DestroyLogicalType(&a.types[i])
	}
	if mapping.AppenderDestroy(&a.to) == mapping.StateError {
		return errors.New("close appender")
	}
	return nil
}

// rows appends rows of p, each at the beginning of its step; order has for each column
// of the table behind the time its place in the kind, -1 for those of a newer netfate,
// which are null.
func (a *appender) rows(p *pending, wanted []int, k *kind, order []int, step int64) error {
	size := int(mapping.VectorSize())
	for len(wanted) > 0 {
		n := min(size, len(wanted))
		if err := a.fill(p, wanted[:n], k, order, step); err != nil {
			return err
		}
		wanted = wanted[n:]
	}
	if mapping.AppenderFlush(a.to) == mapping.StateError {
		return a.failed("flush")
	}
	return nil
}

// fill appends one chunk.
func (a *appender) fill(p *pending, wanted []int, k *kind, order []int, step int64) error {
	mapping.DataChunkReset(a.chunk)
	mapping.DataChunkSetSize(a.chunk, mapping.IdxT(len(wanted)))
	a.heap = a.heap[:0]
	times := a.vector(0, len(wanted))
	for i, row := range wanted {
		minute := p.minute[row]
		times.numbers()[i] = uint64((minute - minute%step) * 1e6)
	}
	var texts []vector
	for i, at := range order {
		v := a.vector(i+1, len(wanted))
		if at < 0 || step > resolutions()[0].step && k.columns[at].onlyMinutes() {
			v.allNull()
			continue
		}
		switch c, from := &k.columns[at], &p.cells[at]; c.form {
		case textForm:
			a.texts(&v, wanted, from.texts)
			texts = append(texts, v)
		case addrForm:
			a.addrs(&v, wanted, from.addrs)
			texts = append(texts, v)
		case boolForm:
			fillNumbers(v.truths(), &v, wanted, from)
		default:
			fillNumbers(v.numbers(), &v, wanted, from)
		}
	}
	// Now the heap does not move any more.
	if len(a.heap) > 0 {
		a.pin.Pin(&a.heap[0])
		defer a.pin.Unpin()
		for i := range texts {
			texts[i].point(&a.heap[0])
		}
	}
	if mapping.AppendDataChunk(a.to, a.chunk) == mapping.StateError {
		return a.failed("append")
	}
	return nil
}

// vector is one column of a chunk: memory of DuckDB.
type vector struct {
	data unsafe.Pointer
	null []uint64 // a bit for each value, 0 for null
	rows int
}

func (a *appender) vector(column, rows int) vector {
	v := mapping.DataChunkGetVector(a.chunk, mapping.IdxT(column))
	mapping.VectorEnsureValidityWritable(v)
	return vector{mapping.VectorGetData(v), unsafe.Slice((*uint64)(mapping.VectorGetValidity(v)), (rows+63)/64), rows}
}

func (v *vector) setNull(i int) { v.null[i/64] &^= 1 << (i % 64) }

func (v *vector) allNull() { clear(v.null) }

func (v *vector) numbers() []uint64 { return unsafe.Slice((*uint64)(v.data), v.rows) }

func (v *vector) truths() []uint8 { return unsafe.Slice((*uint8)(v.data), v.rows) }

func (v *vector) strings() []text { return unsafe.Slice((*text)(v.data), v.rows) }

func fillNumbers[T uint8 | uint64](to []T, v *vector, wanted []int, from *cells) {
	for i, row := range wanted {
		if to[i] = T(from.numbers[row]); !from.known[row] {
			v.setNull(i)
		}
	}
}

// text is a string as DuckDB has it (duckdb_string_t in duckdb.h): its length, then up
// to 12 bytes of it; of longer ones the first 4 and a pointer to all.
type text [16]byte

const inText = 12

func (t *text) set(s []byte, at int) {
	*t = text{}
	binary.NativeEndian.PutUint32(t[:], uint32(len(s)))
	if len(s) <= inText {
		copy(t[4:], s)
		return
	}
	copy(t[4:8], s)
	binary.NativeEndian.PutUint64(t[8:], uint64(at))
}

// texts fills a column; what is longer than its cell goes to the heap, and its place
// there into the cell.
func (a *appender) texts(v *vector, wanted []int, from []string) {
	cells := v.strings()
	for i, row := range wanted {
		s := from[row]
		if s == "" {
			v.setNull(i)
			cells[i] = text{}
			continue
		}
		cells[i].set(unsafe.Slice(unsafe.StringData(s), len(s)), len(a.heap))
		if len(s) > inText {
			a.heap = append(a.heap, s...)
		}
	}
}

func (a *appender) addrs(v *vector, wanted []int, from []netip.Addr) {
	cells := v.strings()
	for i, row := range wanted {
		if !from[row].IsValid() {
			v.setNull(i)
			cells[i] = text{}
			continue
		}
		at := len(a.heap)
		a.heap = from[row].AppendTo(a.heap)
		cells[i].set(a.heap[at:], at)
		if len(a.heap)-at <= inText {
			a.heap = a.heap[:at]
		}
	}
}

// point makes pointers of the places in the heap.
func (v *vector) point(heap *byte) {
	cells := v.strings()
	for i := range cells {
		t := &cells[i]
		if v.null[i/64]>>(i%64)&1 == 1 && binary.NativeEndian.Uint32(t[:]) > inText {
			at := binary.NativeEndian.Uint64(t[8:])
			binary.NativeEndian.PutUint64(t[8:], uint64(uintptr(unsafe.Pointer(heap)))+at)
		}
	}
}
