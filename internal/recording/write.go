package recording

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/netfate/netfate/internal/record"
)

// trailerRoom is kept free below Limits.Bytes so that the trailer always fits.
const trailerRoom = 512

// Writer writes a recording. It is for one goroutine. Every batch is one
// zstd frame in one Write, so a process that dies loses the batch it was
// writing and no other.
type Writer struct {
	w       io.Writer
	limits  Limits
	start   time.Time
	enc     *zstd.Encoder
	kinds   kinds
	text    []byte // reused
	frame   []byte // reused
	size    int64
	end     time.Time
	written Counts
	refused Counts
	err     error // why no more batches are taken
	closed  bool
}

// NewWriter writes the header to w and returns a Writer. The caller owns w and
// closes it after the Writer. Magic and Version of h are filled in.
func NewWriter(w io.Writer, h Header, limits Limits) (*Writer, error) {
	// One goroutine, and the window of a batch: 1 MiB of history finds all
	// that repeats among rows; 4 MiB found no more. The fastest level
	// writes 1.5 times as fast as the default for 0.1 % more bytes.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("start recording: %w", err)
	}
	rw := &Writer{w: w, limits: limits, start: h.Start, enc: enc, kinds: newKinds()}
	h.Magic, h.Version = Magic, Version
	line, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("start recording: %w", err)
	}
	if len(line) >= maxLine {
		return nil, fmt.Errorf("start recording: header takes %d bytes, at most %d fit: shorten the filter", len(line), maxLine)
	}
	rw.text = append(append(rw.text[:0], line...), '\n')
	rw.compress()
	if least := int64(len(rw.frame)) + trailerRoom; limits.Bytes > 0 && limits.Bytes < least {
		return nil, fmt.Errorf("start recording: bound of %d bytes is too small, the header alone takes %d: raise it", limits.Bytes, least)
	}
	if err := rw.flush(); err != nil {
		return nil, err
	}
	return rw, nil
}

// Batch appends b, which it does not keep. Once a bound is reached it writes
// the trailer, and returns a [FullError] for this and every later batch and
// counts what it refuses. After a failed write it returns that error.
func (w *Writer) Batch(b *record.Batch) error {
	if w.err != nil {
		if errors.Is(w.err, ErrFull) {
			w.refused.add(b)
		}
		return w.err
	}
	if w.limits.Duration > 0 && b.End.Sub(w.start) > w.limits.Duration {
		return w.stop(b, "duration", w.limits.Duration.String())
	}
	text, err := w.appendBatch(w.text[:0], b)
	if err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	w.text = text
	head := batchLineOf(b)
	if len(w.text)+recordCost*head.lines() > maxBatchBytes {
		return w.halves(b)
	}
	w.compress()
	if w.limits.Bytes > 0 && w.size+int64(len(w.frame))+trailerRoom > w.limits.Bytes {
		return w.stop(b, "bytes", fmt.Sprintf("%d bytes", w.limits.Bytes))
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.written.add(b)
	w.end = b.End
	return nil
}

// halves writes a batch that is too large for one frame as two of the same
// interval, which add up to the same numbers.
func (w *Writer) halves(b *record.Batch) error {
	one, two := *b, *b
	one.Drops, two.Drops = b.Drops[:len(b.Drops)/2], b.Drops[len(b.Drops)/2:]
	one.Samples, two.Samples = b.Samples[:len(b.Samples)/2], b.Samples[len(b.Samples)/2:]
	one.Flows, two.Flows = b.Flows[:len(b.Flows)/2], b.Flows[len(b.Flows)/2:]
	one.Conns, two.Conns = b.Conns[:len(b.Conns)/2], b.Conns[len(b.Conns)/2:]
	one.Requests, two.Requests = b.Requests[:len(b.Requests)/2], b.Requests[len(b.Requests)/2:]
	one.Queries, two.Queries = b.Queries[:len(b.Queries)/2], b.Queries[len(b.Queries)/2:]
	one.Ledger, two.Ledger = b.Ledger[:len(b.Ledger)/2], b.Ledger[len(b.Ledger)/2:]
	one.Lost, two.Lost = nil, b.Lost
	if head := batchLineOf(&one); head.lines() == 0 {
		w.err = errors.New("write recording: one record is larger than a batch may be")
		return w.err
	}
	if err := w.Batch(&one); err != nil {
		if errors.Is(err, ErrFull) {
			w.refused.add(&two)
		}
		return err
	}
	return w.Batch(&two)
}

func (w *Writer) appendBatch(dst []byte, b *record.Batch) ([]byte, error) {
	head, err := json.Marshal(batchLineOf(b))
	if err != nil { // a year beyond 9999
		return nil, err
	}
	dst = append(append(append(dst, `{"batch":`...), head...), "}\n"...)
	for i := range b.Drops {
		dst = appendLine(dst, "drop", w.kinds.drop, &b.Drops[i])
	}
	for i := range b.Samples {
		dst = appendLine(dst, "sample", w.kinds.drop, &b.Samples[i])
	}
	for i := range b.Flows {
		dst = appendLine(dst, "flow", w.kinds.flow, &b.Flows[i])
	}
	for i := range b.Conns {
		dst = appendLine(dst, "conn", w.kinds.conn, &b.Conns[i])
	}
	for i := range b.Requests {
		dst = appendLine(dst, "request", w.kinds.request, &b.Requests[i])
	}
	for i := range b.Queries {
		dst = appendLine(dst, "query", w.kinds.query, &b.Queries[i])
	}
	for i := range b.Ledger {
		dst = appendLine(dst, "ledger", w.kinds.ledger, &b.Ledger[i])
	}
	for i := range b.Lost {
		dst = appendLine(dst, "lost", w.kinds.lost, &b.Lost[i])
	}
	return dst, nil
}

func appendLine(dst []byte, name string, fields []record.Field, rec any) []byte {
	dst = append(append(append(dst, '{', '"'), name...), '"', ':')
	dst = record.AppendSparseJSON(dst, fields, rec)
	return append(dst, '}', '\n')
}

// stop ends the recording at a bound.
func (w *Writer) stop(b *record.Batch, bound, limit string) error {
	w.refused.add(b)
	if err := w.trailer(bound); err != nil {
		return err
	}
	w.err = &FullError{Bound: bound, Limit: limit}
	return w.err
}

func (w *Writer) trailer(stopped string) error {
	line, err := json.Marshal(trailerLine{Counts: w.written, End: w.end.UTC(), Stopped: stopped})
	if err != nil {
		w.err = fmt.Errorf("write recording: %w", err)
		return w.err
	}
	w.text = append(append(append(w.text[:0], `{"trailer":`...), line...), "}\n"...)
	w.compress()
	return w.flush()
}

func (w *Writer) compress() { w.frame = w.enc.EncodeAll(w.text, w.frame[:0]) }

func (w *Writer) flush() error {
	n, err := w.w.Write(w.frame)
	w.size += int64(n)
	if err != nil {
		w.err = fmt.Errorf("write recording: %w", err)
		return w.err
	}
	return nil
}

// Written returns what the recording holds so far.
func (w *Writer) Written() Counts { return w.written }

// Refused returns what a bound kept out.
func (w *Writer) Refused() Counts { return w.refused }

// Size returns the bytes written so far.
func (w *Writer) Size() int64 { return w.size }

// Close writes the trailer, unless a bound did already or a write failed, and
// frees memory. It does not close what it writes to. A second Close does
// nothing.
func (w *Writer) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	var err error
	if w.err == nil {
		err = w.trailer("")
		w.err = errors.New("write recording: closed")
	}
	return errors.Join(err, w.enc.Close())
}
