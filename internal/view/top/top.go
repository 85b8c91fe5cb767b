// Package top is the full-screen terminal program: an overview, a table for each
// kind of record, and what is behind a row.
//
// It shows the sums of package table, so that its numbers are those of the
// commands; what is its own is sorting, searching, scrolling and keys. It is a sink
// of the agent's: batches wait in the agent's queue while the screen is busy. What
// it needs of the host, such as evidence for an explanation, it is given as a
// function. The commands import it.
package top

import (
	"context"
	"errors"
	"fmt"
	"io"

	tea "charm.land/bubbletea/v2"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/view/table"
)

// Config says what is shown, and where.
type Config struct {
	In  io.Reader // the keyboard; nil is standard input, or the terminal if that is none
	Out io.Writer // the terminal
	Env []string  // as os.Environ gives it: TERM, NO_COLOR and the like

	// Table is how the tables are: signs, colour, verdicts explained, what was
	// selected. Sizes are the terminal's.
	Table table.Options
	// Explain returns what `netfate explain` says of a loss, wrapped at width, with
	// what this host says of it. It may take a while, and is called beside the screen.
	Explain func(ctx context.Context, d *record.Drop, width int, colour bool) string
	// Recording is the name of the recording that is replayed; empty is live.
	Recording string
	// NoLedger says that the ledger is not kept, since only a part is watched.
	NoLedger bool
}

// App is the program. Batches may come once it runs, from one goroutine.
type App struct {
	program *tea.Program
	model   *model
	pace    *pace
}

// New returns a program that Run starts.
func New(ctx context.Context, c Config) *App {
	a := &App{pace: newPace()}
	a.model = newModel(ctx, c, a.pace)
	options := []tea.ProgramOption{tea.WithOutput(c.Out), tea.WithEnvironment(c.Env), tea.WithoutSignalHandler()}
	if c.In != nil {
		options = append(options, tea.WithInput(c.In))
	}
	a.program = tea.NewProgram(a.model, options...)
	return a
}

// Run shows the screen until the user quits or the context is done; lacks is what
// this kernel cannot tell. The terminal is as it was before when it returns.
func (a *App) Run(ctx context.Context, lacks []string) error {
	a.model.lacks = lacks
	// Quit, and not the program's own context, which would kill it.
	stop := context.AfterFunc(ctx, a.program.Quit)
	defer stop()
	if _, err := a.program.Run(); err != nil {
		return fmt.Errorf("show the screen: %w", err)
	}
	return nil
}

// Quit ends Run, or the next one at once.
func (a *App) Quit() { a.program.Quit() }

// Batch adds b to what is shown. It waits while the screen is busy, and for a
// recording until the user wants to see more.
func (a *App) Batch(b *record.Batch) error {
	if a.model.cfg.Recording != "" {
		if err := a.pace.next(a.model.ctx, b.End.Sub(b.Start)); err != nil {
			return err
		}
	}
	a.program.Send(batchMsg{b})
	return nil
}

// Close closes nothing: the last numbers stay on the screen.
func (a *App) Close() error { return nil }

// Replay shows a recording. read feeds it whole to Batch, as often as the user
// wants to begin anew, and returns a note about it. It ends with the context.
func (a *App) Replay(ctx context.Context, read func() (note string, err error)) error {
	for {
		a.program.Send(beginMsg{})
		note, err := read()
		switch {
		case over(ctx):
			return nil
		case errors.Is(err, errAgain):
			continue
		case err != nil:
			return err
		}
		a.program.Send(endMsg{note})
		if !a.pace.again(ctx) {
			return nil
		}
	}
}

// over reports whether the program is asked to end.
func over(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

type (
	batchMsg   struct{ batch *record.Batch }
	beginMsg   struct{}              // a recording begins
	endMsg     struct{ note string } // it has ended
	explainMsg struct {
		page *page // for which it was asked
		text string
	}
)
