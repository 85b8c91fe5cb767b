package loader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/perf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/netfate/netfate/internal/eventtype"
	"github.com/netfate/netfate/internal/kernel"
)

// Event is one thing that a program sent through a ring buffer or a perf event
// array.
type Event struct {
	Time time.Time // when it was read
	Map  string
	CPU  int      // of perf events; else -1
	Type btf.Type // nil if it is not known
	Data []byte   // belongs to the receiver
	Lost uint64   // events that the kernel had no room for; then there is no data
}

// perfBuffer is the size of each CPU's buffer of a perf event array, bytes.
const perfBuffer = 64 << 10

// source reads the events of one map.
type source struct {
	read  func() (Event, error)
	close func() error // makes read return at once, from another goroutine
}

// EventTypes returns what is known of the events of each map.
func (r *Running) EventTypes() map[string]eventtype.Event { return r.object.events }

// Events calls each for every event, one at a time, until ctx is done or each
// returns an error. It returns at once if no map has events.
func (r *Running) Events(ctx context.Context, each func(*Event) error) error {
	var sources []*source
	for _, name := range sorted(r.maps) {
		s, err := r.openSource(name, r.maps[name])
		if err != nil {
			return errors.Join(err, closeSources(sources))
		}
		if s != nil {
			sources = append(sources, s)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	var one sync.Mutex
	for _, s := range sources {
		running.Go(func() {
			if err := s.pass(ctx, &one, each); err != nil {
				cancel(err)
			}
		})
	}
	if len(sources) > 0 {
		<-ctx.Done()
	}
	errs := []error{closeSources(sources)}
	running.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func closeSources(sources []*source) error {
	var errs []error
	for _, s := range sources {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// pass hands events on until the source is closed.
func (s *source) pass(ctx context.Context, one *sync.Mutex, each func(*Event) error) error {
	for {
		e, err := s.read()
		switch {
		case errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("read events: %w", err)
		}
		one.Lock()
		if err = ctx.Err(); err == nil {
			err = each(&e)
		}
		one.Unlock()
		if err != nil {
			return err
		}
	}
}

// openSource opens a map that carries events; nil for other maps.
func (r *Running) openSource(name string, m *ebpf.Map) (*source, error) {
	known := r.object.events[name]
	e := Event{Map: name, CPU: -1, Type: known.Type}
	switch m.Type() {
	case ebpf.RingBuf:
		reader, err := ringbuf.NewReader(m)
		if err != nil {
			return nil, kernel.Diagnose(err, "read the ring buffer "+name)
		}
		return &source{close: reader.Close, read: func() (Event, error) {
			rec, err := reader.Read()
			e.Time, e.Data = time.Now(), rec.RawSample
			return e, err
		}}, nil
	case ebpf.PerfEventArray:
		reader, err := perf.NewReader(m, perfBuffer)
		if err != nil {
			return nil, kernel.Diagnose(err, "read the perf events of "+name)
		}
		return &source{close: reader.Close, read: func() (Event, error) {
			rec, err := reader.Read()
			e.Time, e.Data, e.CPU, e.Lost = time.Now(), unpad(rec.RawSample, &known), rec.CPU, rec.LostSamples
			return e, err
		}}, nil
	}
	return nil, nil
}

// unpad takes off what the kernel puts behind a perf sample to align the next.
func unpad(data []byte, known *eventtype.Event) []byte {
	const align = 8
	if known.Size > 0 && known.Size < len(data) && len(data)-known.Size < align {
		return data[:known.Size]
	}
	return data
}

// Iterators returns the attached iterators, by program.
func (r *Running) Iterators() []string {
	var programs []string
	for i := range r.held {
		if r.held[i].iter != nil {
			programs = append(programs, r.held[i].program)
		}
	}
	return programs
}

// Iterate runs an iterator once; what it writes is read from the result, which
// must be closed.
func (r *Running) Iterate(program string) (io.ReadCloser, error) {
	for i := range r.held {
		if r.held[i].iter == nil || r.held[i].program != program {
			continue
		}
		rows, err := r.held[i].iter.Open()
		if err != nil {
			return nil, kernel.Diagnose(err, "run the iterator "+program)
		}
		return rows, nil
	}
	return nil, fmt.Errorf("run the iterator %s: it is not attached", program)
}
