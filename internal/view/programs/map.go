package programs

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/netfate/netfate/internal/bpfmap"
	"github.com/netfate/netfate/internal/value"
)

// MapOptions say how the entries of a map are shown.
type MapOptions struct {
	Format string // table, json or csv
	Split  bool   // per-CPU values by CPU, not summed
	Mixed  bool   // values have types of their own, as global variables do
	Width  int    // columns of the terminal; 0 does not cut
}

// MapDump writes the entries of a map: a table, whose first rows tell how wide the
// columns are, JSON, one object a line, or CSV. It is for one goroutine.
type MapDump struct {
	w    io.Writer
	o    MapOptions
	csv  *csv.Writer
	grid *mapGrid
	sum  *bpfmap.Summer // of the type of the last value
	last any            // that type
	line []byte
	rows int
}

// sampleRows are held to tell the widths of columns.
const sampleRows = 1000

// NewMapDump returns a MapDump. Close writes what it holds back.
func NewMapDump(w io.Writer, o MapOptions) *MapDump {
	d := &MapDump{w: w, o: o}
	if o.Format == "csv" {
		d.csv = csv.NewWriter(w)
	}
	return d
}

// Add writes one entry. The error is that of writing.
func (d *MapDump) Add(e *bpfmap.Entry) error {
	if d.sum == nil || d.last != any(e.ValueType) {
		d.sum, d.last = bpfmap.NewSummer(e.ValueType), e.ValueType
	}
	split := len(e.Values) > 1 && (d.o.Split || !d.sum.Sums())
	if d.o.Format == "json" {
		return d.addJSON(e, split)
	}
	if d.grid == nil {
		if err := d.head(e, split); err != nil {
			return err
		}
	}
	if !split {
		return d.addRow(d.cells(e, -1, d.sum.Sum(e.Values)))
	}
	for cpu, v := range e.Values {
		if err := d.addRow(d.cells(e, cpu, v)); err != nil {
			return err
		}
	}
	return nil
}

func (d *MapDump) addJSON(e *bpfmap.Entry, split bool) error {
	d.line = appendKey(append(d.line[:0], `{"key":`...), e)
	if split {
		d.line = append(d.line, `,"values":[`...)
		for cpu, v := range e.Values {
			if cpu > 0 {
				d.line = append(d.line, ',')
			}
			d.line = strconv.AppendInt(append(d.line, `{"cpu":`...), int64(cpu), 10)
			d.line = value.AppendJSON(append(d.line, `,"value":`...), e.ValueType, v)
			d.line = append(d.line, '}')
		}
		d.line = append(d.line, "]}\n"...)
	} else {
		d.line = value.AppendJSON(append(d.line, `,"value":`...), e.ValueType, d.sum.Sum(e.Values))
		d.line = append(d.line, "}\n"...)
	}
	return writeMap(d.w, d.line)
}

func writeMap(w io.Writer, b []byte) error {
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write map: %w", err)
	}
	return nil
}

// appendKey appends a key as JSON: null if the map has none.
func appendKey(dst []byte, e *bpfmap.Entry) []byte {
	if len(e.Key) == 0 && e.KeyType == nil {
		return append(dst, "null"...)
	}
	return value.AppendJSON(dst, e.KeyType, e.Key)
}

// head makes the titles from the first entry.
func (d *MapDump) head(e *bpfmap.Entry, split bool) error {
	values := []string{"value"}
	if !d.o.Mixed {
		values = columns("value", value.Columns(e.ValueType), d.csv != nil)
	}
	var titles []string
	if len(e.Key) > 0 {
		titles = columns("key", value.Columns(e.KeyType), d.csv != nil)
	}
	if split || d.o.Split && d.o.Mixed {
		titles = append(titles, "cpu")
	}
	titles = append(titles, values...)
	if d.csv != nil {
		d.grid = &mapGrid{}
		return d.csv.Write(titles)
	}
	for i := range titles {
		titles[i] = strings.ToUpper(titles[i])
	}
	d.grid = &mapGrid{titles: titles}
	return nil
}

// columns names the columns of keys or values: a single one by what it is; with
// full, as in CSV, the others so that no two have the same name.
func columns(what string, names []string, full bool) []string {
	if len(names) == 1 && names[0] == "value" {
		return []string{what}
	}
	names = slices.Clone(names)
	for i := range names {
		if full {
			names[i] = what + "." + names[i]
		}
	}
	return names
}

func (d *MapDump) cells(e *bpfmap.Entry, cpu int, v []byte) []string {
	var cells []string
	if len(e.Key) > 0 {
		cells = value.Cells(e.KeyType, e.Key)
	}
	if cpu >= 0 {
		cells = append(cells, strconv.Itoa(cpu))
	} else if d.o.Split && d.o.Mixed {
		cells = append(cells, "-")
	}
	if d.o.Mixed {
		return append(cells, string(value.AppendText(nil, e.ValueType, v)))
	}
	return append(cells, value.Cells(e.ValueType, v)...)
}

func (d *MapDump) addRow(cells []string) error {
	if d.csv != nil {
		return d.csv.Write(cells)
	}
	d.rows++
	if d.rows > sampleRows {
		return writeMap(d.w, []byte(d.grid.line(cells, d.o.Width)+"\n"))
	}
	d.grid.rows = append(d.grid.rows, cells)
	if d.rows == sampleRows {
		return d.flush()
	}
	return nil
}

// flush writes the rows that were held to measure them.
func (d *MapDump) flush() error {
	text := strings.Join(d.grid.lines(d.o.Width), "\n") + "\n"
	d.grid.rows = nil
	return writeMap(d.w, []byte(text))
}

// Close writes what is held; it does not close the writer.
func (d *MapDump) Close() error {
	switch {
	case d.csv != nil:
		d.csv.Flush()
		return d.csv.Error()
	case d.grid != nil && d.rows < sampleRows:
		return d.flush()
	}
	return nil
}
