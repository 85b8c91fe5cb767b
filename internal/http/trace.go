package http

import (
	"encoding/hex"
	"strings"
)

// trace is what a request says of the trace that it is of: both zero if nothing.
type trace struct {
	traceID [16]byte
	spanID  [8]byte
}

// Where the parts of a traceparent field are (W3C Trace Context, version 00):
// 00-TRACE-SPAN-FLAGS. Later versions may go on behind the flags.
const (
	traceAt   = 3
	spanAt    = traceAt + 2*16 + 1
	flagsAt   = spanAt + 2*8 + 1
	parentLen = flagsAt + 2
)

// parseTrace reads a traceparent field. What is none, as the standard has it, says
// nothing.
func parseTrace(value string) (t trace) {
	if len(value) < parentLen || value[traceAt-1] != '-' || value[spanAt-1] != '-' || value[flagsAt-1] != '-' {
		return trace{}
	}
	version := value[:traceAt-1]
	if more := value[parentLen:]; version == "00" && more != "" || more != "" && more[0] != '-' {
		return trace{}
	}
	var number, flags [1]byte
	read := func(into []byte, part string) bool {
		_, err := hex.Decode(into, []byte(part))
		return err == nil && strings.ToLower(part) == part
	}
	if !read(number[:], version) || !read(t.traceID[:], value[traceAt:spanAt-1]) || !read(t.spanID[:], value[spanAt:flagsAt-1]) || !read(flags[:], value[flagsAt:parentLen]) {
		return trace{}
	}
	if version == "ff" || t.traceID == [16]byte{} || t.spanID == [8]byte{} {
		return trace{}
	}
	return t
}

// id is the trace in hexadecimal; empty if there is none.
func (t *trace) id() string {
	if t.traceID == [16]byte{} {
		return ""
	}
	return hex.EncodeToString(t.traceID[:])
}

// parent is the span that made the request, likewise.
func (t *trace) parent() string {
	if t.spanID == [8]byte{} {
		return ""
	}
	return hex.EncodeToString(t.spanID[:])
}
