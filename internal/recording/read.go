package recording

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/netfate/netfate/internal/record"
)

// ErrNotRecording says that a file is no recording at all.
var ErrNotRecording = errors.New("not a netfate recording")

// Reader reads a recording. It is for one goroutine. What it holds is bounded,
// whatever the file says: one batch, of at most 256 MiB and what slices grow
// ahead.
type Reader struct {
	dec     *zstd.Decoder // nil for plain text
	lines   *bufio.Reader
	long    []byte // a line that did not fit the buffer of lines
	kinds   kinds
	header  Header
	read    Counts
	unknown uint64
	note    string
	err     error
}

// Open reads the header of a recording. r may hold the lines uncompressed as
// well, so that a recording can be edited with text tools. The caller closes
// the Reader, then r.
func Open(r io.Reader) (*Reader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	rd := &Reader{lines: in, kinds: newKinds()}
	magic, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	switch {
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		// Concurrency 1 starts no goroutine.
		rd.dec, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("open recording: %w", err)
		}
		rd.lines = bufio.NewReaderSize(rd.dec, 64<<10)
	case len(magic) == 0 || magic[0] != '{':
		return nil, fmt.Errorf("open recording: %w: it begins neither with a zstd frame nor with {; make one with netfate record -w FILE", ErrNotRecording)
	}
	if err := rd.readHeader(); err != nil {
		rd.Close()
		return nil, fmt.Errorf("open recording: %w", err)
	}
	return rd, nil
}

func (r *Reader) readHeader() error {
	line, err := r.line()
	if err != nil {
		if cut(err) {
			return fmt.Errorf("%w: it ends within its header", ErrNotRecording)
		}
		return err
	}
	if err := json.Unmarshal(line, &r.header); err != nil || r.header.Magic != Magic {
		return fmt.Errorf("%w: its first line is no header", ErrNotRecording)
	}
	if r.header.Version < 1 || r.header.Version > Version {
		return fmt.Errorf("the format is version %d and this netfate reads up to %d: use a netfate as new as the one that wrote it (%s)",
			r.header.Version, Version, r.header.Netfate)
	}
	return nil
}

// Header returns the first line of the recording.
func (r *Reader) Header() Header { return r.header }

// Read returns how much was read so far.
func (r *Reader) Read() Counts { return r.read }

// Note says, once Next has returned io.EOF, in one sentence what the user
// must know about the recording's end: that it is cut off, or that a bound
// stopped it. It is empty if there is nothing to say.
func (r *Reader) Note() string {
	if r.unknown > 0 {
		more := fmt.Sprintf("%d lines are of kinds that this netfate does not know and were left out", r.unknown)
		if r.note == "" {
			return more
		}
		return r.note + "; " + more
	}
	return r.note
}

// Next returns the next whole batch, which the caller owns, or io.EOF. A
// recording that is cut off ends with io.EOF after its last whole batch, and
// Note says so; damage in the middle is an error.
func (r *Reader) Next() (*record.Batch, error) {
	if r.err != nil {
		return nil, r.err
	}
	b, err := r.next()
	if err != nil {
		if cut(err) {
			r.note = fmt.Sprintf("the recording is cut off: its last whole batch is number %d, what came after is missing", r.read.Batches)
			err = io.EOF
		} else if !errors.Is(err, io.EOF) {
			err = fmt.Errorf("read recording: after batch %d: %w", r.read.Batches, err)
		}
		r.err = err
		return nil, err
	}
	r.read.add(b)
	return b, nil
}

// errCut says that the text ends before the trailer.
var errCut = errors.New("cut off")

func cut(err error) bool {
	return errors.Is(err, errCut) || errors.Is(err, io.ErrUnexpectedEOF)
}

func (r *Reader) next() (*record.Batch, error) {
	for {
		line, err := r.line()
		if err != nil {
			return nil, err
		}
		kind, body, err := split(line)
		if err != nil {
			return nil, err
		}
		switch kind {
		case "batch":
			var head batchLine
			if err := json.Unmarshal(body, &head); err != nil {
				return nil, fmt.Errorf("batch line: %w", err)
			}
			return r.batch(head)
		case "trailer":
			return nil, r.trailer(body)
		case "drop", "sample", "flow", "conn", "request", "query", "ledger", "lost":
			return nil, fmt.Errorf("a %s line stands outside its batch", kind)
		default:
			r.unknown++
		}
	}
}

// batch reads the lines that belong to head. Nothing is allocated by what
// head claims, only by what is there.
func (r *Reader) batch(head batchLine) (*record.Batch, error) {
	b := &record.Batch{Start: head.Start.UTC(), End: head.End.UTC()}
	size := 0
	for head.missing(b) {
		line, err := r.line()
		if err != nil {
			return nil, err
		}
		if size += len(line) + recordCost; size > maxBatchBytes {
			return nil, fmt.Errorf("the batch is larger than %d bytes", maxBatchBytes)
		}
		kind, body, err := split(line)
		if err != nil {
			return nil, err
		}
		if err := r.add(b, kind, body); err != nil {
			return nil, err
		}
	}
	if head.surplus(b) {
		return nil, errors.New("the batch has more lines of a kind than it announced")
	}
	return b, r.checked()
}

// checked makes the decompressor verify the checksum of the frame that the
// batch came in, by asking for the byte after it. The end of the file and a
// fault in the next frame are for the next call to see.
func (r *Reader) checked() error {
	if _, err := r.lines.Peek(1); errors.Is(err, zstd.ErrCRCMismatch) {
		return err
	}
	return nil
}

func (r *Reader) add(b *record.Batch, kind string, body []byte) error {
	switch kind {
	case "drop":
		b.Drops = append(b.Drops, record.Drop{})
		return record.ParseJSON(body, r.kinds.drop, &b.Drops[len(b.Drops)-1])
	case "sample":
		b.Samples = append(b.Samples, record.Drop{})
		return record.ParseJSON(body, r.kinds.drop, &b.Samples[len(b.Samples)-1])
	case "flow":
		b.Flows = append(b.Flows, record.Flow{})
		return record.ParseJSON(body, r.kinds.flow, &b.Flows[len(b.Flows)-1])
	case "conn":
		b.Conns = append(b.Conns, record.Conn{})
		return record.ParseJSON(body, r.kinds.conn, &b.Conns[len(b.Conns)-1])
	case "request":
		b.Requests = append(b.Requests, record.Request{})
		return record.ParseJSON(body, r.kinds.request, &b.Requests[len(b.Requests)-1])
	case "query":
		b.Queries = append(b.Queries, record.Query{})
		return record.ParseJSON(body, r.kinds.query, &b.Queries[len(b.Queries)-1])
	case "ledger":
		b.Ledger = append(b.Ledger, record.Entry{})
		return record.ParseJSON(body, r.kinds.ledger, &b.Ledger[len(b.Ledger)-1])
	case "lost":
		b.Lost = append(b.Lost, record.Lost{})
		return record.ParseJSON(body, r.kinds.lost, &b.Lost[len(b.Lost)-1])
	case "batch", "trailer":
		return fmt.Errorf("a %s line stands inside a batch", kind)
	}
	r.unknown++
	return nil
}

// trailer compares what was read with what was written and says io.EOF.
func (r *Reader) trailer(body []byte) error {
	var t trailerLine
	if err := json.Unmarshal(body, &t); err != nil {
		return fmt.Errorf("trailer: %w", err)
	}
	if t.Counts != r.read {
		return fmt.Errorf("the trailer counts %+v but the file holds %+v: parts of it are missing", t.Counts, r.read)
	}
	if _, err := r.line(); !errors.Is(err, errCut) {
		if err == nil {
			err = errors.New("there is more after the trailer: recordings cannot be joined with cat")
		}
		return err
	}
	if t.Stopped != "" {
		r.note = fmt.Sprintf("the recording was stopped by its bound on %s at %s", t.Stopped, t.End.UTC().Format("2006-01-02T15:04:05Z"))
	}
	return io.EOF
}

// line returns the next line without its end, valid until the next call, or
// errCut at the end of the text.
func (r *Reader) line() ([]byte, error) {
	r.long = r.long[:0]
	for {
		part, err := r.lines.ReadSlice('\n')
		if len(r.long)+len(part) > maxLine {
			return nil, fmt.Errorf("a line is longer than %d bytes", maxLine)
		}
		switch {
		case err == nil && len(r.long) == 0:
			return part[:len(part)-1], nil
		case err == nil:
			r.long = append(r.long, part...)
			return r.long[:len(r.long)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
			r.long = append(r.long, part...)
		case errors.Is(err, io.EOF):
			return nil, errCut
		default:
			return nil, err
		}
	}
}

// split tells the kind of a line, the name of its only member, from its body.
func split(line []byte) (kind string, body []byte, err error) {
	line = bytes.TrimSpace(line)
	if name, rest, ok := bytes.Cut(line, []byte(`":`)); ok && len(rest) > 0 && bytes.HasPrefix(name, []byte(`{"`)) &&
		line[len(line)-1] == '}' && !bytes.ContainsAny(name[2:], `"\`) {
		return string(name[2:]), rest[:len(rest)-1], nil
	}
	return "", nil, errors.New("a line is not an object of one member")
}

// Close frees memory. It does not close what it reads from.
func (r *Reader) Close() {
	if r.dec != nil {
		r.dec.Close()
		r.dec = nil
	}
	if r.err == nil {
		r.err = errors.New("read recording: closed")
	}
}
