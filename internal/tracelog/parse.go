// Package tracelog reads the kernel's trace_pipe, where what BPF programs write by
// bpf_printk comes out: it finds the file, reads it until it is told to stop, and
// takes its lines apart.
//
// trace_pipe is one for the whole host: what is read from it is gone for every
// other reader, and a line does not say which program wrote it. The package switches
// no tracing on or off and knows no BPF. The commands import it.
package tracelog

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// Entry is one line of trace_pipe.
type Entry struct {
	// Since is the time by the kernel's trace clock: unless someone changed that,
	// roughly since boot, without the time that the host slept.
	Since time.Duration
	PID   int    // of the thread
	Comm  string // of the thread; <...> if the kernel no longer knows
	CPU   int
	Flags string // interrupts, need to reschedule, context, preemption depth: d..21
	// Event is bpf_trace_printk for a line of a BPF program.
	Event string
	Text  string
	// Lost is how many events of CPU the kernel overwrote before they were read;
	// then nothing else is set.
	Lost uint64
	// Continued is set for a line of a text of several: what is known is that of
	// the line before.
	Continued bool
}

// BPF reports whether a program wrote the line. Before Linux 5.9 such lines have
// an address for an event.
func (e *Entry) BPF() bool {
	return e.Event == "bpf_trace_printk" || e.Event == "0x00000001" || e.Event == "0x1"
}

// commWidth is how wide the kernel pads the name of a task, which has 15 bytes at
// most: so the dash behind it is found whatever the name has in it.
// kernel/trace/trace_output.c, trace_print_context.
const commWidth = 16

// Parse takes one line apart, without its end. It reports false for what is no
// whole line: the second line of a text, say.
func Parse(line []byte) (Entry, bool) {
	if e, ok := parseLost(line); ok {
		return e, true
	}
	if len(line) <= commWidth || line[commWidth] != '-' {
		return Entry{}, false
	}
	e := Entry{Comm: strings.TrimLeft(string(line[:commWidth]), " ")}
	rest := line[commWidth+1:]
	var ok bool
	if e.PID, rest, ok = leadingInt(rest); !ok {
		return Entry{}, false
	}
	rest = bytes.TrimLeft(rest, " ")
	if len(rest) > 0 && rest[0] == '(' { // the process, with the option record-tgid
		_, rest, ok = bytes.Cut(rest, []byte(")"))
		if !ok {
			return Entry{}, false
		}
		rest = bytes.TrimLeft(rest, " ")
	}
	if len(rest) == 0 || rest[0] != '[' {
		return Entry{}, false
	}
	if e.CPU, rest, ok = leadingInt(rest[1:]); !ok || len(rest) == 0 || rest[0] != ']' {
		return Entry{}, false
	}
	return e.parseRest(bytes.TrimLeft(rest[1:], " "))
}

// parseRest reads flags, time, event and text.
func (e *Entry) parseRest(rest []byte) (Entry, bool) {
	head, text, ok := bytes.Cut(rest, []byte(": "))
	if !ok {
		return Entry{}, false
	}
	fields := bytes.Fields(head)
	switch len(fields) {
	case 2:
		e.Flags = string(fields[0])
	case 1: // without the option irq-info
	default:
		return Entry{}, false
	}
	if e.Since, ok = parseSince(string(fields[len(fields)-1])); !ok {
		return Entry{}, false
	}
	event, text, ok := bytes.Cut(text, []byte(":"))
	if !ok || bytes.ContainsAny(event, " ") {
		return Entry{}, false
	}
	e.Event, e.Text = string(event), string(bytes.TrimPrefix(text, []byte(" ")))
	return *e, true
}

// parseLost reads CPU:1 [LOST 123 EVENTS]; the kernel says [LOST EVENTS] if it
// does not know how many.
func parseLost(line []byte) (Entry, bool) {
	rest, ok := bytes.CutPrefix(line, []byte("CPU:"))
	if !ok {
		return Entry{}, false
	}
	cpu, rest, ok := leadingInt(rest)
	if !ok {
		return Entry{}, false
	}
	rest, ok = bytes.CutPrefix(rest, []byte(" [LOST "))
	if !ok {
		return Entry{}, false
	}
	if bytes.Equal(rest, []byte("EVENTS]")) {
		return Entry{CPU: cpu, Lost: 1}, true
	}
	number, ok := bytes.CutSuffix(rest, []byte(" EVENTS]"))
	if !ok {
		return Entry{}, false
	}
	lost, err := strconv.ParseUint(string(number), 10, 64)
	return Entry{CPU: cpu, Lost: lost}, err == nil && lost > 0
}

// leadingInt reads the digits that b begins with.
func leadingInt(b []byte) (int, []byte, bool) {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	v, err := strconv.ParseInt(string(b[:n]), 10, 32)
	return int(v), b[n:], err == nil
}

// parseSince reads 12345.678901, or the plain number that clocks such as counter
// and x86-tsc give: of those it makes ns.
func parseSince(text string) (time.Duration, bool) {
	whole, part, ok := strings.Cut(text, ".")
	if !ok {
		n, err := strconv.ParseUint(whole, 10, 63)
		return time.Duration(n), err == nil
	}
	const most = 1 << 33 // seconds: what a Duration of ns can hold, and no host runs as long
	s, err := strconv.ParseUint(whole, 10, 64)
	if err != nil || s > most || len(part) != 6 {
		return 0, false
	}
	us, err := strconv.ParseUint(part, 10, 32)
	return time.Duration(s)*time.Second + time.Duration(us)*time.Microsecond, err == nil
}
