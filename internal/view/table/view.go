// Package table turns frozen batches of records into what a person or a
// script reads: text tables that refresh in place on a terminal or are
// appended as blocks elsewhere, JSON lines and CSV.
//
// The aggregation ([DropSums], [FlowSums], [QuerySums], [RequestSums]) is pure: no
// clock, no goroutine, no lock; time comes from the batches. The views write to
// the writers that they are given and nowhere else. The package knows records, no
// kernel and no sensor; the agent and the commands import it.
package table

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/netfate/netfate/internal/record"
)

// View is where the batches of one command go.
type View interface {
	// Batch shows b, which it may read until it returns and does not change.
	// The error is that of writing; after it the view is of no more use.
	Batch(b *record.Batch) error
	// Close shows what is left to show: the table, if only one was asked for,
	// and on the error writer what was hidden and lost. It closes nothing.
	Close() error
}

// Format is the form of the output.
type Format string

// The formats.
const (
	Table Format = "table"
	JSON  Format = "json" // one object a line, as record.AppendJSON writes it
	CSV   Format = "csv"  // a header, then a line a record; RFC 4180 with LF line ends
)

// DefaultMaxKeys is the number of rows, and of flows kept beside them, that a
// view holds unless told otherwise: at most 20 MB.
const DefaultMaxKeys = 10_000

// Options say what is shown and how. The zero value is a table of everything
// that matters, as wide as it needs, plain ASCII.
type Options struct {
	Format Format // empty is Table

	Rows  int    // rows shown; 0 is what the screen has room for, or all
	All   bool   // drops: benign ones too
	Each  bool   // drops, queries, requests: one line an event instead of sums
	Stack bool   // drops: the kernel stack beneath, where a sample brought it
	By    string // one of FlowGroups, empty is flow; of QueryGroups, empty is name; of RequestGroups, empty is path

	Count bool // requests: those that the kernel has counted, of which nothing else is known

	// Connections: those that failed or broke; those that are open, as a table;
	// listeners, as a table.
	Failed, Live, Listeners bool

	// Selected says that not all records of the host are here: flows then add up
	// what goes in and out, since what the host counts once may be in a record
	// that is not.
	Selected bool

	// Captured says that flows are of a capture, which knows no host and no drops.
	Captured bool

	// Once shows one table, at Close, with rates over the whole time, instead
	// of one after each batch with the rates of that batch.
	Once bool

	Width   int     // columns of the terminal; 0 does not cut anything
	Colour  bool    // colour the verdicts; see ColourWanted
	Unicode bool    // draw arrows and dots, and show letters beyond ASCII; see UnicodeWanted
	Screen  *Screen // redraw here instead of appending to the writer; sets the width

	// Why explains a drop in one line; nil shows no explanations.
	Why func(record.Drop) string

	MaxKeys int // rows held; 0 is DefaultMaxKeys. What does not fit is counted in a row ~other.

	height int          // lines of the screen; 0 is no bound
	memory *widthMemory // of the screen; nil lays out each table anew
}

// FlowGroups lists what flows can be grouped by.
func FlowGroups() []string {
	return []string{byFlow, byProcess, byContainer, byPeer, byPort, byInterface}
}

// NewDrops returns the view of `netfate drops`, which writes data to out and
// notes for the user to notes. An error says what is wrong with the options.
//
// JSON and CSV hold the aggregates of each batch, or its samples with Each:
// records and nothing else, with exact numbers. They select as the table does:
// benign drops only with All. What was hidden, and what netfate lost, is one
// line each on notes: a loss when its kind first appears, and the sums at
// Close. Tables show both themselves.
func NewDrops(out, notes io.Writer, o Options) (View, error) {
	switch {
	case o.By != "":
		return nil, fmt.Errorf("--by %s: drops are not grouped by choice; leave it out", o.By)
	case o.Format == JSON, o.Format == CSV:
		return newDropRows(out, notes, o), nil
	case o.Format != Table && o.Format != "":
		return nil, badFormat(o.Format)
	case o.Each:
		return newEach(out, notes, o), nil
	}
	return newTables(out, o, NewDropSums(o.MaxKeys)), nil
}

// NewFlows is [NewDrops] for `netfate flows`. JSON and CSV by flow are the
// records as they are, one for each interface that a flow crossed; by anything
// else one record a group and batch, in which only the fields of the group are
// known, and host_packets and host_bytes count each packet once.
func NewFlows(out, notes io.Writer, o Options) (View, error) {
	if o.By == "" {
		o.By = byFlow
	}
	switch {
	case !slices.Contains(FlowGroups(), o.By):
		return nil, fmt.Errorf("--by %s: flows are grouped by %s", o.By, strings.Join(FlowGroups(), ", "))
	case o.Each, o.Stack:
		return nil, fmt.Errorf("--each and --stack are for drops; flows have no single events")
	case o.Format == JSON, o.Format == CSV:
		return newFlowRows(out, notes, o), nil
	case o.Format != Table && o.Format != "":
		return nil, badFormat(o.Format)
	}
	m := NewFlowSums(o.By, o.MaxKeys)
	m.selected, m.captured = o.Selected, o.Captured
	return newTables(out, o, m), nil
}

// NewConns is [NewDrops] for `netfate conns`: events one by one as they come, or
// with By, Live or Listeners a table. JSON and CSV are the records: events, those
// that failed or broke with Failed, those that are open with Live, listeners
// with Listeners.
func NewConns(out, notes io.Writer, o Options) (View, error) {
	switch {
	case o.By != "" && !slices.Contains(ConnGroups(), o.By):
		return nil, fmt.Errorf("--by %s: connections are grouped by %s", o.By, strings.Join(ConnGroups(), ", "))
	case asked(o.By != "", o.Failed, o.Live, o.Listeners) > 1:
		return nil, fmt.Errorf("--by, --failed, --live and --listeners are four views: choose one")
	case o.Format != Table && o.Format != "" && o.Format != JSON && o.Format != CSV:
		return nil, badFormat(o.Format)
	case o.By != "" && (o.Format == JSON || o.Format == CSV):
		return nil, fmt.Errorf("--by is for tables: -o %s has every connection; leave --by out", o.Format)
	case o.Format == JSON, o.Format == CSV:
		return &connRows{rows: newRows(out, o.Format, record.Conn{}), notes: newNotes(notes, &o), o: o}, nil
	case o.By != "":
		return newTables(out, o, NewConnSums(o.By, o.MaxKeys)), nil
	case o.Live, o.Listeners:
		return newTables(out, o, NewConnTable(o.Listeners, o.MaxKeys)), nil
	}
	return &connEach{out: out, notes: newNotes(notes, &o), o: o}, nil
}

func asked(flags ...bool) (n int) {
	for _, f := range flags {
		if f {
			n++
		}
	}
	return n
}

func newNotes(w io.Writer, o *Options) notes { return notes{w: w, signs: o.signs()} }

func badFormat(f Format) error {
	return fmt.Errorf("-o %s: the formats are %s, %s and %s", f, Table, JSON, CSV)
}

// sums is what a table is drawn from.
type sums interface {
	Add(b *record.Batch)
	Lines(o Options) []string
}

// tables shows sums as tables.
type tables struct {
	out  io.Writer
	o    Options
	data sums
}

func newTables(out io.Writer, o Options, data sums) *tables {
	if o.Screen != nil {
		o.memory = &widthMemory{}
	}
	return &tables{out: out, o: o, data: data}
}

func (t *tables) Batch(b *record.Batch) error {
	t.data.Add(b)
	if t.o.Once {
		return nil
	}
	return t.draw()
}

func (t *tables) Close() error {
	if t.o.Once {
		return t.draw()
	}
	return nil
}

func (t *tables) draw() error {
	o := t.o
	if o.Screen != nil && !o.Once {
		o.Width, o.height = o.Screen.size()
		return o.Screen.Draw(t.data.Lines(o))
	}
	_, err := io.WriteString(t.out, strings.Join(t.data.Lines(o), "\n")+"\n\n")
	if err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}
