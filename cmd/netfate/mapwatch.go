package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/netfate/netfate/internal/bpfmap"
	"github.com/netfate/netfate/internal/view/programs"
	"github.com/netfate/netfate/internal/view/table"
)

// newMapWriter buffers what a dump of a large map writes.
func newMapWriter() *bufio.Writer { return bufio.NewWriterSize(os.Stdout, 1<<16) }

// watch samples the map until ctx ends.
func (f *mapFlags) watch(ctx context.Context, m *bpfmap.Map, name string, o bpfmap.WatchOptions) error {
	w, err := bpfmap.NewWatcher(m, o)
	if err != nil {
		return err
	}
	view := &programs.MapWatch{Name: table.Plain(name), Mixed: m.Global(), Width: mapWidth()}
	var screen *table.Screen
	if term.IsTerminal(int(os.Stdout.Fd())) && table.RedrawWanted(true, os.Getenv) {
		screen = table.NewScreen(os.Stdout, terminalSize)
	}
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	for {
		s, err := w.Sample(ctx, time.Now())
		if ctx.Err() != nil {
			return nil // Ctrl-C, or the end of --duration
		}
		if err != nil {
			return err
		}
		if err := f.show(view, screen, s); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// show writes one sample. Blocks and JSON begin with the first that has rates.
func (f *mapFlags) show(view *programs.MapWatch, screen *table.Screen, s *bpfmap.Sample) error {
	switch {
	case f.format == "json" && s.Elapsed > 0:
		for _, note := range programs.WatchNotes(s) {
			fmt.Fprintln(os.Stderr, "netfate: note:", note)
		}
		return programs.WriteWatchJSON(os.Stdout, s)
	case f.format == "json":
		return nil
	case screen != nil:
		view.Width = mapWidth()
		return screen.Draw(view.Lines(s))
	case s.Elapsed > 0:
		_, err := fmt.Println(strings.Join(view.Lines(s), "\n") + "\n")
		if err != nil {
			return fmt.Errorf("write samples: %w", err)
		}
	}
	return nil
}
