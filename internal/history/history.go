// Package history says what is asked of a store of records, and in which words:
// the stores themselves are below it (duckdb on the host, others for a fleet), and
// who reads them, the HTTP API and the commands, knows this package only. It
// does nothing by itself.
package history

import (
	"context"
	"errors"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// The kinds of records that are stored, each in a table of that name whose
// columns are the fields that record.Fields gives.
const (
	Drops    = "drops"
	Flows    = "flows"
	Conns    = "conns"
	Requests = "requests"
	Queries  = "queries"
	Ledger   = "ledger"
	Lost     = "lost" // what netfate itself lost or left out
)

// Kinds lists the kinds in the order in which they are shown.
func Kinds() []string { return []string{Drops, Flows, Conns, Requests, Queries, Ledger, Lost} }

// ErrQuestion is wrapped by the errors of questions that cannot be answered as
// they are put: a field that does not exist, a statement that is not SQL.
var ErrQuestion = errors.New("the question is wrong")

// ErrLimit is wrapped by the errors of questions that took more time or memory
// than they may.
var ErrLimit = errors.New("the question takes more than it may")

// Store keeps records. Its methods may be called at the same time.
type Store interface {
	// Put stores the records of a batch, which it may keep but not change. When
	// it returns they are held in memory at least; Flush makes them durable.
	Put(ctx context.Context, b *record.Batch) error
	// Flush returns once all that was Put before is durable.
	Flush(ctx context.Context) error
	// Rows returns records, newest first.
	Rows(ctx context.Context, q Question) (Table, error)
	// Groups returns the sums of measures by q.By, the largest q.Measure first;
	// what is beyond q.Limit is summed up in one last row of "~other".
	Groups(ctx context.Context, q Question) (Table, error)
	// Series returns the sum of q.Measure by time and by q.By.
	Series(ctx context.Context, q Question) (Series, error)
	// Durations returns how many took how long, by time and by q.By; q.Measure names
	// the duration, latency_us for instance. Of a question with too many steps and
	// lines, MaxHistograms in all, the error is ErrQuestion.
	Durations(ctx context.Context, q Question) (Durations, error)
	// SQL answers a statement that only reads.
	SQL(ctx context.Context, statement string, l Limits) (Table, error)
	// Status tells how much there is.
	Status(ctx context.Context) (Status, error)
	// Close flushes. It is called once.
	Close() error
}

// Question selects records and says how to sum them up.
type Question struct {
	Kind string
	// Since and Until are the time that is asked about, without the latter; zero is open. A
	// row that is of a longer time counts if its minute is partly of that.
	Since, Until time.Time
	// Where are conditions that hold together.
	Where []Condition
	// By are the fields to sum up by, none for the sum of all.
	By []string
	// Measure is the measure that groups are ordered by and a series is of; empty
	// is the first one of the kind.
	Measure string
	// Step is the time between two points of a series; 0 lets the store choose
	// one that gives some 300.
	Step time.Duration
	// Limit is how many rows, groups or lines there may be; 0 is for 100.
	Limit int
	// After is Table.Next of the page before; only for Rows.
	After string
}

// Condition compares a field with values.
type Condition struct {
	Field string
	// Values are as in JSON, each as text; one of them has to be equal, for text
	// with * as any characters. An empty value is null.
	Values []string
	Not    bool
}

// Limits bound a statement; zero is the store's own limit.
type Limits struct {
	Time time.Duration
	Rows int
}

// Table is an answer. The values of rows are what record.Field.Get returns, or
// float64; nil is null.
type Table struct {
	Columns []Column
	Rows    [][]any
	// Next asks for the rows after these, empty if there are none.
	Next string
	// Cut says that Limits.Rows kept rows out.
	Cut bool
	// Resolution is the time that one stored row is of, where it is more than
	// the interval that it was recorded at: old rows are rolled up.
	Resolution time.Duration
}

// Column is what a column of a table is called and holds.
type Column struct {
	Name string
	Type string // as record.Field.Type, or float, or SQL's own name
	Unit string // as record.Field.Unit
}

// Series is one measure over time.
type Series struct {
	Unit  string
	Step  time.Duration
	Times []time.Time // the beginnings of the steps
	Lines []Line      // the largest sum first, the last one may be "~other"
}

// Line is one group's values, one for each step.
type Line struct {
	Key    []string // as Question.By; "~other" alone for the rest
	Values []float64
}

// MaxHistograms is how many histograms, of steps and lines, an answer has at the most.
const MaxHistograms = 20_000

// Durations are histograms over time. They are sums, so that those of several lines or
// steps may be added up.
type Durations struct {
	Unit  string
	Step  time.Duration
	Times []time.Time  // the beginnings of the steps
	Lines []Histograms // that with most first, the last one may be "~other"
	// Sampled is how many of all these were not seen themselves but are stood for by
	// others: what is told of them is estimated.
	Sampled uint64
}

// Histograms are those of one group.
type Histograms struct {
	Key []string // as Question.By; "~other" alone for the rest
	// Counts are of each step how many took so long, by the duration, which Bucket has
	// rounded; nil where there are none.
	Counts []map[uint64]uint64
}

// Status is what a store holds.
type Status struct {
	Engine string // duckdb 1.4.3
	Path   string
	Bytes  int64
	Oldest time.Time
	Kinds  []KindStatus
	// Degraded says why nothing is durable at the moment, empty if all is well.
	Degraded string
	// Dropped are rows that were given up, by reason: for room, for age.
	Dropped map[string]uint64
}

// KindStatus is what a store holds of one kind, at one resolution.
type KindStatus struct {
	Kind       string
	Resolution time.Duration // 0 is as recorded
	Rows       int64
	Oldest     time.Time
	Newest     time.Time
}
