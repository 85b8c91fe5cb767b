//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strconv"
	"time"
)

// errResident is why a statement ends that makes the process too large.
var errResident = errors.New("it takes more memory than it may")

const (
	// lookAtMemory is the time between two looks; DuckDB takes some 10 MB in it at the most.
	lookAtMemory = 10 * time.Millisecond
	// leastMemory is what a statement may take where the process is large already.
	leastMemory = 32 << 20
)

// guard returns a context that ends when the process has more than most bytes
// resident: DuckDB does not count all that aggregates take. stop ends the looking.
func guard(ctx context.Context, most int64) (guarded context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	if resident()+leastMemory > most {
		giveBack()
	}
	most = max(most, resident()+leastMemory)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(lookAtMemory)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if resident() <= most {
					continue
				}
				if giveBack(); resident() > most {
					cancel(errResident)
				}
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
	}
}

// resident is the process's resident memory in bytes (proc_pid_statm(5)), 0 if it
// cannot be read.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	fields := bytes.Fields(text)
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
