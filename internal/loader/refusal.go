package loader

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/netfate/netfate/internal/kernel"
)

// RejectedError is a program that the kernel's verifier rejects.
type RejectedError struct {
	Doing   string   // what was tried
	Message string   // the verifier's last word
	Source  string   // the line of C that it was at, with file and number; empty without debug information
	Log     []string // the whole log
	Err     error
}

// Error says where in the source, and what.
func (e *RejectedError) Error() string {
	text := e.Doing + ": the kernel's verifier rejects it: " + e.Message
	if e.Source != "" {
		text += "\n    at " + e.Source
	}
	return text
}

// Unwrap returns what the library returned.
func (e *RejectedError) Unwrap() error { return e.Err }

// refusal explains why a program was not loaded.
func refusal(err error, doing string) error {
	var v *ebpf.VerifierError
	if !errors.As(err, &v) || len(v.Log) == 0 {
		return kernel.Diagnose(err, doing)
	}
	e := &RejectedError{Doing: doing, Log: v.Log, Err: err}
	for i := len(v.Log) - 1; i >= 0; i-- {
		line := strings.TrimSpace(v.Log[i])
		if e.Message == "" {
			if line != "" && !isStatistics(line) {
				e.Message = line
			}
			continue
		}
		if source, ok := strings.CutPrefix(line, "; "); ok {
			e.Source = sourceLine(source)
			break
		}
	}
	if e.Message == "" {
		return kernel.Diagnose(err, doing)
	}
	return e
}

// isStatistics reports whether a line of the verifier's log counts its work.
func isStatistics(line string) bool {
	for _, prefix := range []string{"processed ", "verification time ", "stack depth ", "mark_precise:"} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}

// sourceLine turns "return *p; @ prog.bpf.c:12" (since 6.9) around; before it is
// the line alone.
func sourceLine(text string) string {
	code, at, ok := strings.Cut(text, " @ ")
	if !ok {
		return text
	}
	return fmt.Sprintf("%s: %s", at, strings.TrimSpace(code))
}
