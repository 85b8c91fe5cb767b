package programs

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/netfate/netfate/internal/value"
)

// Events writes what programs send: a line an event, in columns by its type, or
// JSON, one object a line. It is for one goroutine.
type Events struct {
	w      io.Writer
	json   bool
	last   string           // the map whose columns are above
	widths map[string][]int // by map
	line   []byte
}

// NewEvents returns a writer of events; as JSON if json is true.
func NewEvents(w io.Writer, json bool) *Events {
	return &Events{w: w, json: json, widths: map[string][]int{}}
}

// Event is one event: its type may be nil, then its data are shown as hex.
type Event struct {
	Time time.Time
	Map  string
	CPU  int // -1 if it is not known
	Type btf.Type
	Data []byte
}

// Add writes one event. The error is that of writing.
func (e *Events) Add(ev *Event) error {
	e.line = e.line[:0]
	if e.json {
		e.appendJSON(ev)
	} else {
		e.appendRow(ev)
	}
	if _, err := e.w.Write(e.line); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	return nil
}

func (e *Events) appendJSON(ev *Event) {
	e.line = append(e.line, `{"time":"`...)
	e.line = ev.Time.UTC().AppendFormat(e.line, time.RFC3339Nano)
	e.line = append(e.line, `","map":`...)
	e.line = strconv.AppendQuote(e.line, ev.Map) // names of BPF objects are plain ASCII
	if ev.CPU >= 0 {
		e.line = strconv.AppendInt(append(e.line, `,"cpu":`...), int64(ev.CPU), 10)
	}
	e.line = append(e.line, `,"event":`...)
	e.line = value.AppendJSON(e.line, ev.Type, ev.Data)
	e.line = append(e.line, "}\n"...)
}

// clock is how the time of an event is shown.
const clock = "15:04:05.000000"

// appendRow writes the titles when the map is another one than before.
func (e *Events) appendRow(ev *Event) {
	cells := value.Cells(ev.Type, ev.Data)
	if e.last != ev.Map {
		if e.last != "" {
			e.line = append(e.line, '\n')
		}
		e.last = ev.Map
		titles := value.Columns(ev.Type)
		for i := range titles {
			titles[i] = strings.ToUpper(titles[i])
		}
		e.appendCells(ev.Map, "TIME"+strings.Repeat(" ", len(clock)-len("TIME")), titles)
	}
	e.appendCells(ev.Map, ev.Time.Format(clock), cells)
}

// appendCells pads each cell to the widest that its column has had so far, but
// not without end.
func (e *Events) appendCells(name, first string, cells []string) {
	const widest = 40
	widths := e.widths[name]
	for len(widths) < len(cells) {
		widths = append(widths, 0)
	}
	e.widths[name] = widths
	e.line = append(e.line, first...)
	for i, c := range cells {
		n := len([]rune(c))
		widths[i] = max(widths[i], min(n, widest))
		e.line = append(append(e.line, "  "...), c...)
		if i < len(cells)-1 {
			e.line = append(e.line, strings.Repeat(" ", max(widths[i]-n, 0))...)
		}
	}
	e.line = append(e.line, '\n')
}
