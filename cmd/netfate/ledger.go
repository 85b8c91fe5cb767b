package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/verdict"
	"github.com/netfate/netfate/internal/view/table"
)

func newLedger() *cobra.Command {
	w := &watch{every: time.Second}
	var layers, draw bool
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Where every packet went, and whether the books balance",
		Long: `Ledger reconciles what the sensors see with what the kernel itself counts: for each
network namespace and interface, packets in = delivered + forwarded + lost, by
reason and place. What nothing explains is shown as such, positive or negative.

Of a loss that the drop sensor and a counter both know it takes one number and
says whether they agree (SEEN BY). Losses that have no buffer come from counters:
a NIC's ring, XDP in a driver, a full accept queue.

Numbers are buffers as the kernel counts them, which may hold many packets; on
hardware, packets of the wire. The counters cannot all be read at one moment: on a
busy host some packets that pass meanwhile are unexplained in one interval and
come back in the next with the other sign. docs/ledger.md has the equations.`,
		Example: `  sudo netfate ledger                     the books since the start, refreshed
  sudo netfate ledger -d 30s              thirty seconds, one table
  sudo netfate ledger --layers -d 10s     every layer of every namespace, line by line
  sudo netfate ledger --draw -d 10s       the same as bars, layer by layer
  sudo netfate ledger --netns web -o json one namespace, one object a line`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := w.checkPast(cmd, nil); err != nil {
				return err
			}
			switch {
			case layers && draw:
				return usagef("--layers and --draw are two views: choose one")
			case w.pid != 0 || w.comm != "" || w.container != "":
				return usagef("the kernel's counters belong to namespaces: select with --netns")
			case w.iface != "":
				return usagef("-i %s: a packet is in the books of all interfaces that it crosses; --layers shows each, --netns selects", w.iface)
			}
			one := w.duration > 0 && w.read == "" && !cmd.Flags().Changed("every")
			w.cfg.Ledger, w.cfg.Drops, w.cfg.Flows = true, true, true
			if err := w.prepare(cmd.Context(), nil); err != nil {
				return err
			}
			w.cfg.Names = false
			o := w.options()
			switch {
			case layers:
				o.By = "layers"
			case draw:
				o.By = "draw"
			}
			if o.Once = one || w.gone(); o.Once {
				o.Screen = nil
			}
			if one {
				w.cfg.Interval = w.duration
			}
			book, err := verdict.In(tongue())
			if err != nil {
				return err
			}
			w.cfg.Book = book
			view, err := table.NewLedger(os.Stdout, os.Stderr, o)
			if err != nil {
				return usageError{err}
			}
			outputs := []agent.Output{{Name: "the table", Sink: view}}
			if w.isPast() {
				return w.fromHistory(cmd.Context(), history.Ledger, outputs)
			}
			return w.run(cmd.Context(), "the ledger", outputs)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&layers, "layers", false, "every line of every layer")
	f.BoolVar(&draw, "draw", false, "bars: what came, and what left it at each layer")
	w.flags(cmd)
	w.pastFlags(cmd)
	return cmd
}
