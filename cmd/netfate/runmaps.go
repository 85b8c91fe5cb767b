package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/netfate/netfate/internal/bpfmap"
	"github.com/netfate/netfate/internal/loader"
	"github.com/netfate/netfate/internal/view/programs"
)

// runOutput is where events and changes of maps meet.
type runOutput struct {
	mu   sync.Mutex
	view *programs.Events
	lost map[string]uint64 // events, by map
}

// event shows one event, or counts those that were lost.
func (o *runOutput) event(e *loader.Event) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e.Lost > 0 {
		o.lost[e.Map] += e.Lost
		return nil
	}
	return o.view.Add(&programs.Event{Time: e.Time, Map: e.Map, CPU: e.CPU, Type: e.Type, Data: e.Data})
}

func (o *runOutput) tellLost() {
	for _, name := range slices.Sorted(maps.Keys(o.lost)) {
		fmt.Fprintf(os.Stderr, "netfate: lost %d events of %s: they came faster than they were read\n", o.lost[name], name)
	}
}

// What of a map is shown while its object runs: netfate map watch shows all.
const (
	runTop        = 10      // changes a look
	runMaxEntries = 1 << 16 // larger maps are not read each second
)

// runMaps shows what changes in the maps of a running object.
type runMaps struct {
	every time.Duration
	maps  []watchedMap
}

type watchedMap struct {
	name    string
	m       *bpfmap.Map
	watcher *bpfmap.Watcher
}

// newRunMaps opens the maps that hold values; every 0 shows none.
func newRunMaps(running *loader.Running, every time.Duration) (*runMaps, error) {
	w := &runMaps{every: every}
	if every == 0 {
		return w, nil
	}
	values := running.Values(runMaxEntries)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		clone, err := values[name].Clone()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open map %s: %w", name, err), w.close())
		}
		opened, err := bpfmap.New(clone)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open map %s: %w", name, err), w.close())
		}
		watcher, err := bpfmap.NewWatcher(opened, bpfmap.WatchOptions{Top: runTop})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("watch map %s: %w", name, err), opened.Close(), w.close())
		}
		w.maps = append(w.maps, watchedMap{name, opened, watcher})
	}
	return w, nil
}

// run looks at the maps until ctx is done.
func (w *runMaps) run(ctx context.Context, out *runOutput) error {
	if len(w.maps) == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		for _, m := range w.maps {
			s, err := m.watcher.Sample(ctx, time.Now())
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return fmt.Errorf("watch map %s: %w", m.name, err)
			}
			if err := out.changes(m.name, s); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// changes shows the entries of a sample that have changed.
func (o *runOutput) changes(name string, s *bpfmap.Sample) error {
	if s.Elapsed == 0 {
		return nil // the first: there is nothing to compare with
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range s.Rows {
		if !s.Rows[i].Changed {
			continue
		}
		if err := o.view.AddChange(name, s.Time, &s.Rows[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *runMaps) close() error {
	var errs []error
	for _, m := range w.maps {
		errs = append(errs, m.m.Close())
	}
	return errors.Join(errs...)
}
