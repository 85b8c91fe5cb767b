// Package recording writes and reads the files of `netfate record`: what the
// sensors saw, batch by batch, so that every view can print from a file what
// it would have printed live. docs/recording.md describes the format.
//
// It knows records and bytes, no kernel and no view. The agent and the
// commands import it.
package recording

import (
	"errors"
	"fmt"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// Magic is the first member of the first line of every recording.
const Magic = "netfate-recording"

// Version is the version of the format that this package writes, and the
// newest that it reads.
const Version = 1

const (
	// maxLine bounds one line. The largest record, a sample with a stack of
	// 127 frames and all names at their longest, stays below 100 kB.
	maxLine = 1 << 20
	// maxWindow bounds what the decompressor allocates for one frame; it is
	// the window of zstd levels up to 19; ours is 1 MiB.
	maxWindow = 8 << 20
	// recordCost is what a record takes in memory beside its text, rounded up.
	recordCost = 640
	// maxBatchBytes bounds one batch, and with it what the reader holds: its
	// text plus recordCost for each record, 280,000 flows of the usual 270
	// bytes. The writer splits larger batches.
	maxBatchBytes = 256 << 20
)

// Header is the first line of a recording: where, when and how it was made.
type Header struct {
	Magic   string    `json:"magic"`   // filled in by the writer
	Version int       `json:"version"` // filled in by the writer
	Host    string    `json:"host"`    // name of the host
	Kernel  string    `json:"kernel"`  // its kernel release, as uname -r says
	Netfate string    `json:"netfate"` // version of the netfate that wrote it
	Start   time.Time `json:"start"`   // when it began; bounds by duration count from here
	Filter  string    `json:"filter"`  // pcap-filter expression and flags, empty for everything
	// IntervalUS is the length of a batch as it was asked for.
	IntervalUS int64 `json:"interval_us"`
}

// Limits bound a recording. The zero value of a field sets no bound.
type Limits struct {
	Bytes    int64         // size of the file, as compressed
	Duration time.Duration // from Header.Start to the end of the last batch
}

// Counts says how much a recording, or a part of it, holds.
type Counts struct {
	Batches  uint64 `json:"batches"`
	Drops    uint64 `json:"drops"` // rows of each kind, not packets
	Samples  uint64 `json:"samples"`
	Flows    uint64 `json:"flows"`
	Conns    uint64 `json:"conns,omitempty"`
	Requests uint64 `json:"requests,omitempty"`
	Queries  uint64 `json:"queries,omitempty"`
	Ledger   uint64 `json:"ledger,omitempty"`
	Lost     uint64 `json:"lost"`
}

func (c *Counts) add(b *record.Batch) {
	c.Batches++
	c.Drops += uint64(len(b.Drops))
	c.Samples += uint64(len(b.Samples))
	c.Flows += uint64(len(b.Flows))
	c.Conns += uint64(len(b.Conns))
	c.Requests += uint64(len(b.Requests))
	c.Queries += uint64(len(b.Queries))
	c.Ledger += uint64(len(b.Ledger))
	c.Lost += uint64(len(b.Lost))
}

// batchLine opens a batch and says how many lines of each kind belong to it.
type batchLine struct {
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	Drops    uint64    `json:"drops"`
	Samples  uint64    `json:"samples"`
	Flows    uint64    `json:"flows"`
	Conns    uint64    `json:"conns,omitempty"`
	Requests uint64    `json:"requests,omitempty"`
	Queries  uint64    `json:"queries,omitempty"`
	Ledger   uint64    `json:"ledger,omitempty"`
	Lost     uint64    `json:"lost"`
}

func batchLineOf(b *record.Batch) batchLine {
	return batchLine{
		Start: b.Start.UTC(), End: b.End.UTC(),
		Drops: uint64(len(b.Drops)), Samples: uint64(len(b.Samples)), Flows: uint64(len(b.Flows)), Conns: uint64(len(b.Conns)),
		Requests: uint64(len(b.Requests)), Queries: uint64(len(b.Queries)), Ledger: uint64(len(b.Ledger)), Lost: uint64(len(b.Lost)),
	}
}

// missing and surplus report whether a batch lacks lines that head announced,
// or has more of a kind.
func (head *batchLine) missing(b *record.Batch) bool {
	have := batchLineOf(b)
	return have.Drops < head.Drops || have.Samples < head.Samples || have.Flows < head.Flows || have.Conns < head.Conns ||
		have.Requests < head.Requests || have.Queries < head.Queries || have.Ledger < head.Ledger || have.Lost < head.Lost
}

func (head *batchLine) surplus(b *record.Batch) bool {
	have := batchLineOf(b)
	return have.Drops > head.Drops || have.Samples > head.Samples || have.Flows > head.Flows ||
		have.Conns > head.Conns || have.Requests > head.Requests || have.Queries > head.Queries || have.Ledger > head.Ledger || have.Lost > head.Lost
}

// lines is how many lines follow the batch's own.
func (head *batchLine) lines() int {
	return int(head.Drops + head.Samples + head.Flows + head.Conns + head.Requests + head.Queries + head.Ledger + head.Lost)
}

// trailerLine closes a recording that was closed in order.
type trailerLine struct {
	Counts
	End time.Time `json:"end"`
	// Stopped is the bound that ended the recording: "bytes", "duration", or
	// empty if it was ended from outside.
	Stopped string `json:"stopped"`
}

// ErrFull is what [Writer.Batch] returns, wrapped in a [FullError], for a
// batch that a bound kept out.
var ErrFull = errors.New("recording is full")

// FullError says which bound ended the recording. The file is complete, up to
// and without the refused batch.
type FullError struct {
	Bound string // "bytes" or "duration"
	Limit string // the bound, in words
}

// Error says which bound it was and how to record more.
func (e *FullError) Error() string {
	return fmt.Sprintf("recording stopped at its bound of %s; raise the bound to record more", e.Limit)
}

// Unwrap returns [ErrFull].
func (e *FullError) Unwrap() error { return ErrFull }

// kinds are the fields of each kind of record, worked out once per file.
type kinds struct{ drop, flow, conn, request, query, ledger, lost []record.Field }

func newKinds() kinds {
	return kinds{
		drop: record.Fields(record.Drop{}), flow: record.Fields(record.Flow{}), conn: record.Fields(record.Conn{}),
		request: record.Fields(record.Request{}), query: record.Fields(record.Query{}), ledger: record.Fields(record.Entry{}), lost: record.Fields(record.Lost{}),
	}
}
