package programs

import (
	"fmt"
	"strconv"
	"time"

	"github.com/netfate/netfate/internal/bpfmap"
	"github.com/netfate/netfate/internal/value"
)

// AddChange writes one entry of a map that has changed since the sample before.
// The error is that of writing.
func (e *Events) AddChange(name string, at time.Time, row *bpfmap.Row) error {
	e.line = e.line[:0]
	if e.json {
		e.appendChangeJSON(name, at, row)
	} else {
		e.appendChange(name, at, row)
	}
	if _, err := e.w.Write(e.line); err != nil {
		return fmt.Errorf("write changes: %w", err)
	}
	return nil
}

func (e *Events) appendChangeJSON(name string, at time.Time, row *bpfmap.Row) {
	e.line = append(e.line, `{"time":"`...)
	e.line = at.UTC().AppendFormat(e.line, time.RFC3339Nano)
	e.line = append(e.line, `","map":`...)
	e.line = strconv.AppendQuote(e.line, name)
	e.line = value.AppendJSON(append(e.line, `,"key":`...), row.KeyType, row.Key)
	e.line = value.AppendJSON(append(e.line, `,"value":`...), row.ValueType, row.Value)
	if len(row.Delta) > 0 {
		e.line = strconv.AppendInt(append(e.line, `,"delta":`...), row.Delta[0], 10)
	}
	e.line = append(e.line, "}\n"...)
}

func (e *Events) appendChange(name string, at time.Time, row *bpfmap.Row) {
	if e.last != "" { // the next event has its titles again
		e.line = append(e.line, '\n')
		e.last = ""
	}
	e.line = at.AppendFormat(e.line, clock)
	e.line = append(append(e.line, "  "...), name...)
	e.line = value.AppendText(append(e.line, "  "...), row.KeyType, row.Key)
	e.line = value.AppendText(append(e.line, " → "...), row.ValueType, row.Value)
	if len(row.Delta) > 0 && row.Delta[0] != 0 {
		e.line = fmt.Appendf(e.line, "  %+d", row.Delta[0])
	}
	e.line = append(e.line, '\n')
}
