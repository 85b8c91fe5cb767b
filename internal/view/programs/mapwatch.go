package programs

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/bpfmap"
	"github.com/netfate/netfate/internal/value"
)

// MapWatch shows samples of a map: each key with its value and how much that
// changes a second.
type MapWatch struct {
	Name  string // of the map, for the heading
	Mixed bool   // values have types of their own
	Width int    // columns of the terminal; 0 does not cut

	widths []int // that the columns have had, so that they do not jump
}

// Lines draws a sample as a table with a heading and a line on what is not shown.
func (w *MapWatch) Lines(s *bpfmap.Sample) []string {
	heading := fmt.Sprintf("%s  %s  %d keys", w.Name, s.Time.Format("15:04:05"), s.Keys)
	if s.Elapsed > 0 {
		heading += fmt.Sprintf(", %d changed in %v", s.Moving, s.Elapsed.Round(10*time.Millisecond))
	}
	lines := []string{cutLine(heading, w.Width)}
	g := mapGrid{}
	for i := range s.Rows {
		r := &s.Rows[i]
		if i == 0 {
			g.titles = w.titles(r)
		}
		g.rows = append(g.rows, w.cells(r))
	}
	if len(s.Rows) > 0 {
		g.measure()
		for len(w.widths) < len(g.widths) {
			w.widths = append(w.widths, 0)
		}
		for i := range g.widths {
			g.widths[i] = max(g.widths[i], w.widths[i])
			w.widths[i] = g.widths[i]
		}
		lines = append(lines, g.line(g.titles, w.Width))
		for _, row := range g.rows {
			lines = append(lines, g.line(row, w.Width))
		}
	}
	for _, n := range WatchNotes(s) {
		lines = append(lines, cutLine(n, w.Width))
	}
	return lines
}

// WatchNotes says what a sample does not show.
func WatchNotes(s *bpfmap.Sample) []string {
	var notes []string
	if s.Hidden > 0 {
		text := fmt.Sprintf("%d more not shown", s.Hidden)
		if s.Elapsed > 0 {
			text += ", together " + rateText(s.Rest) + "/s"
		}
		notes = append(notes, text)
	}
	if s.Ignored > 0 {
		notes = append(notes, fmt.Sprintf("%d more keys are not watched: %d are remembered at most", s.Ignored, bpfmap.MaxWatched))
	}
	if s.Report.Changed {
		notes = append(notes, ChangedNote)
	}
	if s.Report.Note != "" {
		notes = append(notes, s.Report.Note)
	}
	return notes
}

// ChangedNote says that a map changed so that its reading is not exact.
const ChangedNote = "the map changed while it was read: a key may be missing or twice"

// titles are those of the key, then of each value with its rate behind it.
func (w *MapWatch) titles(r *bpfmap.Row) []string {
	titles := columns("key", value.Columns(r.KeyType), false)
	if r.CPU >= 0 {
		titles = append(titles, "cpu")
	}
	if w.Mixed {
		titles = append(titles, "value", "/s")
	} else {
		names := value.Columns(r.ValueType)
		shown := columns("value", names, false)
		for i, name := range names {
			titles = append(titles, shown[i])
			if numberAt(r, name) >= 0 {
				titles = append(titles, "/s")
			}
		}
	}
	for i := range titles {
		titles[i] = strings.ToUpper(titles[i])
		if titles[i] == "/S" {
			titles[i] = "/s"
		}
	}
	return titles
}

func (w *MapWatch) cells(r *bpfmap.Row) []string {
	cells := value.Cells(r.KeyType, r.Key)
	if r.CPU >= 0 {
		cells = append(cells, strconv.Itoa(r.CPU))
	}
	if w.Mixed {
		rate := "-"
		if len(r.Numbers) == 1 && r.Rate != nil {
			rate = rateText(r.Rate[0])
		}
		return append(cells, string(value.AppendText(nil, r.ValueType, r.Value)), rate)
	}
	values := value.Cells(r.ValueType, r.Value)
	if r.ValueType == nil && len(r.Numbers) == 1 { // taken for a counter
		values = []string{strconv.FormatUint(uint64(r.Numbers[0].Of(r.Value)), 10)}
	}
	for i, name := range value.Columns(r.ValueType) {
		cells = append(cells, values[i])
		n := numberAt(r, name)
		switch {
		case n < 0:
		case r.Rate == nil:
			cells = append(cells, "-")
		default:
			cells = append(cells, rateText(r.Rate[n]))
		}
	}
	return cells
}

// numberAt returns the index of the number in a column, -1 if it has none.
func numberAt(r *bpfmap.Row, column string) int {
	for i, n := range r.Numbers {
		if n.Name == column {
			return i
		}
	}
	return -1
}

// rateText writes a change a second: whole if it is large.
func rateText(x float64) string {
	if a := math.Abs(x); a >= 100 || a == math.Trunc(a) {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'f', 1, 64)
}

// WriteWatchJSON writes the rows of a sample, one object a line: key, value, delta
// since the sample before and rate a second; the last two are objects where the
// value is a struct, by the names of its numbers, and null where they are not
// known. The error is that of writing.
func WriteWatchJSON(w io.Writer, s *bpfmap.Sample) error {
	var b []byte
	for i := range s.Rows {
		r := &s.Rows[i]
		b = append(b, `{"time":"`...)
		b = s.Time.UTC().AppendFormat(b, time.RFC3339Nano)
		b = value.AppendJSON(append(b, `","key":`...), r.KeyType, r.Key)
		if r.CPU >= 0 {
			b = strconv.AppendInt(append(b, `,"cpu":`...), int64(r.CPU), 10)
		}
		b = value.AppendJSON(append(b, `,"value":`...), r.ValueType, r.Value)
		b = append(b, `,"delta":`...)
		b = appendNumbers(b, r, func(b []byte, i int) []byte { return strconv.AppendInt(b, r.Delta[i], 10) })
		b = append(b, `,"rate":`...)
		b = appendNumbers(b, r, func(b []byte, i int) []byte { return strconv.AppendFloat(b, r.Rate[i], 'f', -1, 64) })
		b = append(b, "}\n"...)
	}
	return writeMap(w, b)
}

func appendNumbers(b []byte, r *bpfmap.Row, one func([]byte, int) []byte) []byte {
	switch {
	case r.Delta == nil || len(r.Numbers) == 0:
		return append(b, "null"...)
	case len(r.Numbers) == 1 && r.Numbers[0].Name == "value":
		return one(b, 0)
	}
	b = append(b, '{')
	for i, n := range r.Numbers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendQuote(b, n.Name), ':')
		b = one(b, i)
	}
	return append(b, '}')
}
