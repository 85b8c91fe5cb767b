package main

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/sensor/drop"
	"github.com/netfate/netfate/internal/sensor/flow"
)

// allocation is how often something allocates memory for each event that it
// handles.
type allocation struct {
	what     string
	perEvent float64
	events   uint64
}

// measureAllocations loads the sensors into this process and counts what
// reading them allocates.
func measureAllocations(w *wire, r *results) error {
	r.allocations = append(r.allocations, decodeAllocations())
	btf, err := kernel.LoadBTF()
	if err != nil {
		return err
	}
	args, err := kernel.KfreeSKBArgs(btf)
	if err != nil {
		return err
	}
	if err := flowAllocations(w, r); err != nil {
		return err
	}
	return dropAllocations(w, r, args)
}

func decodeAllocations() allocation {
	var e decode.Sample
	raw := make([]byte, unsafe.Sizeof(e.DropEvent))
	return allocation{"decoding a drop sample", testing.AllocsPerRun(1000, func() {
		if err := decode.Event(raw, &e); err != nil {
			panic(err) // a sample of zeros is a valid one
		}
	}), 1000}
}

// mallocs returns how many allocations this process has made.
func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

func flowAllocations(w *wire, r *results) (err error) {
	s, err := flow.New(flow.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Attach(); err != nil {
		return err
	}
	var rows uint64
	a, err := pollAllocations(w, r, "polling 5,000 flows, a row", openPort, &rows, func() error {
		return s.Poll(func(*decode.FlowKey, *decode.FlowCount) { rows++ })
	})
	r.allocations = append(r.allocations, a)
	return err
}

// pollAllocations floods, polls once to have everything in place, floods and
// polls again, and counts what the second poll allocates.
func pollAllocations(w *wire, r *results, what string, port uint16, rows *uint64, poll func() error) (allocation, error) {
	var before uint64
	for range 2 {
		if _, err := w.play(workload{flows: 5000, port: port}, r.cfg.slice); err != nil {
			return allocation{}, err
		}
		*rows = 0
		before = mallocs()
		if err := poll(); err != nil {
			return allocation{}, err
		}
	}
	made := mallocs() - before
	if *rows == 0 {
		return allocation{}, fmt.Errorf("measure %s: nothing was counted", what)
	}
	return allocation{what, float64(made) / float64(*rows), *rows}, nil
}

func dropAllocations(w *wire, r *results, args kernel.FreeArgs) (err error) {
	s, err := drop.New(drop.Config{Args: args})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Attach(); err != nil {
		return err
	}
	var rows uint64
	a, err := pollAllocations(w, r, "polling 5,000 drops, a row", closedPort, &rows, func() error {
		return s.Poll(func(*decode.DropKey, *decode.DropCount) { rows++ })
	})
	if err != nil {
		return err
	}
	r.allocations = append(r.allocations, a)
	if err := s.Allow(1000); err != nil {
		return err
	}
	if _, err := w.play(workload{flows: 1, port: closedPort}, r.cfg.slice); err != nil {
		return err
	}
	var e decode.Sample
	var samples uint64
	before := mallocs()
	for {
		ok, err := s.Next(time.Now(), &e)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		samples++
	}
	made := mallocs() - before
	if samples == 0 {
		return errors.New("measure samples: none was taken")
	}
	r.allocations = append(r.allocations, allocation{"reading a drop sample", float64(made) / float64(samples), samples})
	return nil
}
