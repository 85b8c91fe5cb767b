package programs

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/netfate/netfate/internal/tracelog"
)

// Log writes lines of trace_pipe: in columns, or as JSON, one object a line. It is
// for one goroutine.
type Log struct {
	w     io.Writer
	json  bool
	begun bool
}

// NewLog returns a writer of lines; as JSON if json is true.
func NewLog(w io.Writer, json bool) *Log { return &Log{w: w, json: json} }

// logLine is a line in JSON.
type logLine struct {
	Seconds   float64 `json:"seconds"` // by the trace clock, roughly since boot
	PID       int     `json:"pid"`
	Comm      string  `json:"comm"`
	CPU       int     `json:"cpu"`
	Flags     string  `json:"flags,omitempty"`
	Text      string  `json:"text"`
	Continued bool    `json:"continued,omitempty"`
}

// logLost is, in JSON, what was overwritten before it was read.
type logLost struct {
	CPU  int    `json:"cpu"`
	Lost uint64 `json:"lost"`
}

const logRow = "%15s %7v  %-15s %3v  %s\n"

// Add writes one line. The error is that of writing.
func (l *Log) Add(e *tracelog.Entry) error {
	var err error
	switch {
	case l.json && e.Lost > 0:
		err = json.NewEncoder(l.w).Encode(logLost{e.CPU, e.Lost})
	case l.json:
		err = json.NewEncoder(l.w).Encode(logLine{e.Since.Seconds(), e.PID, e.Comm, e.CPU, e.Flags, e.Text, e.Continued})
	default:
		_, err = io.WriteString(l.w, l.row(e))
	}
	if err != nil {
		return fmt.Errorf("write lines: %w", err)
	}
	return nil
}

// row writes the titles before the first line.
func (l *Log) row(e *tracelog.Entry) string {
	var b strings.Builder
	if !l.begun {
		l.begun = true
		fmt.Fprintf(&b, logRow, "TIME", "PID", "COMM", "CPU", "TEXT")
	}
	switch {
	case e.Lost > 0:
		fmt.Fprintf(&b, logRow, "", "", "", e.CPU, fmt.Sprintf("[%d events lost: they came faster than they were read]", e.Lost))
	case e.Continued:
		fmt.Fprintf(&b, logRow, "", "", "", "", cleanText(e.Text))
	default:
		fmt.Fprintf(&b, logRow, fmt.Sprintf("%.6f", e.Since.Seconds()), e.PID, clean(e.Comm), e.CPU, cleanText(e.Text))
	}
	return b.String()
}

// cleanText is clean for text of any length, which keeps tabs as spaces.
func cleanText(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, text)
}
