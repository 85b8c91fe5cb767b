package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/export/prometheus"
	"github.com/netfate/netfate/internal/recording"
)

func newRecord() *cobra.Command {
	w := &watch{every: time.Second}
	var path string
	var maxBytes int64
	var books bool
	var kept, metrics string
	cmd := &cobra.Command{
		Use:   "record {-w FILE | --history FILE | --metrics FILE} [FILTER]",
		Short: "Save what the sensors saw, for -r on any machine, or for netfate query",
		Long: `Record keeps what drops, flows, conns, dns and http would show, with samples of lost
packets, in a file that every command reads with -r: anywhere, without privileges. Of
requests it keeps no queries, and of TLS what the handshakes tell. With --ledger it
keeps the books that netfate ledger shows. The file is bounded
by --max-size and --duration and good up to its last second even if netfate is killed.

With --history it adds to a history, for netfate query and --since: minutes, later
hours and days, of which the oldest go when there is no room. With -r that is filled from a
recording; one that is added twice counts twice.

With --metrics it writes metrics, for node_exporter's textfile collector, at the end of
each interval.`,
		Example: `  sudo netfate record -w night.nfr -d 8h     a night
  sudo netfate record -w - | ssh desk 'cat > host.nfr'
  netfate drops -r night.nfr                 what was lost
  netfate flows -r night.nfr --by process    who talked
  netfate http -r night.nfr --by status      what web servers answered
  sudo netfate record --history h.duckdb     for netfate query --history h.duckdb
  netfate record --history h.duckdb -r night.nfr`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case path == "" && kept == "" && metrics == "":
				return usagef("record needs -w FILE; '-w -' writes to standard output; or --history FILE, or --metrics FILE")
			case path != "" && w.read != "":
				return usagef("-r %s is a recording already: it can be added to a --history, without -w", w.read)
			}
			w.cfg.Drops, w.cfg.Flows, w.cfg.Conns, w.cfg.Queries, w.cfg.Requests = true, true, true, true, true
			w.cfg.Samples, w.cfg.Ledger = fewSamples, books
			if books && len(args) > 0 {
				return usagef("--ledger balances all packets: leave the filter %q out, or --ledger", expression(args))
			}
			if err := w.prepare(cmd.Context(), args); err != nil {
				return err
			}
			var outputs []agent.Output
			if metrics != "" {
				outputs = append(outputs, agent.Output{Name: "the metrics", Sink: newMetricsSink(prometheus.New(prometheus.Config{Build: build()}), metrics)})
			}
			if path == "" {
				return w.runInto(cmd.Context(), kept, outputs)
			}
			return w.record(cmd.Context(), path, kept, strings.Join(args, " "), maxBytes, outputs)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&path, "write", "w", "", "file to write, - for standard output")
	f.StringVar(&kept, "history", "", "history to add to, which is made if it is not there")
	f.StringVar(&metrics, "metrics", "", "file to write metrics to, which ends in .prom")
	f.StringVarP(&w.read, "read", "r", "", "add a recording to the history instead of what this host does")
	f.Int64Var(&maxBytes, "max-size", 1<<30, "stop when the file has this many bytes")
	f.BoolVar(&books, "ledger", false, "keep the ledger too: reads the kernel's counters of all namespaces each interval")
	f.DurationVarP(&w.duration, "duration", "d", 0, "stop after this long, for example 8h (0: until Ctrl-C)")
	f.DurationVar(&w.every, "every", w.every, "length of an interval")
	w.selection(cmd)
	w.calling(cmd)
	return cmd
}

// runInto feeds the outputs and the history at kept, if that is not empty.
func (w *watch) runInto(ctx context.Context, kept string, outputs []agent.Output) error {
	if kept != "" {
		sink, err := newHistorySink(kept, w.read != "")
		if err != nil {
			return err
		}
		outputs = append(outputs, agent.Output{Name: "the history", Sink: sink})
	}
	return w.run(ctx, "drops and flows", outputs)
}

// record writes a recording, to the history at kept, and to more outputs.
func (w *watch) record(ctx context.Context, path, kept, expr string, maxBytes int64, more []agent.Output) (err error) {
	out := os.Stdout
	if path != "-" {
		if out, err = os.Create(path); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, out.Close()) }()
	}
	header, err := w.header(expr)
	if err != nil {
		return err
	}
	writer, err := recording.NewWriter(out, header, recording.Limits{Bytes: maxBytes})
	if err != nil {
		return err
	}
	err = w.runInto(ctx, kept, append([]agent.Output{{Name: "the recording", Sink: writer}}, more...))
	var full *recording.FullError
	if errors.As(err, &full) {
		fmt.Fprintln(os.Stderr, "netfate:", full)
		err = nil
	}
	n := writer.Written()
	fmt.Fprintf(os.Stderr, "netfate: wrote %d intervals: %d drops, %d samples, %d flows, %d bytes\n",
		n.Batches, n.Drops, n.Samples, n.Flows, writer.Size())
	return err
}

func (w *watch) header(expr string) (recording.Header, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return recording.Header{}, fmt.Errorf("read the kernel's release: %w", err)
	}
	return recording.Header{
		Host: unix.ByteSliceToString(uts.Nodename[:]), Kernel: unix.ByteSliceToString(uts.Release[:]),
		Netfate: version(), Start: time.Now().UTC(), Filter: w.describe(expr), IntervalUS: w.every.Microseconds(),
	}, nil
}

// describe writes down what the recording was restricted to.
func (w *watch) describe(expr string) string {
	var parts []string
	for _, p := range []struct{ flag, value string }{
		{"--interface", w.iface}, {"--netns", w.netns}, {"--comm", w.comm}, {"--container", w.container},
	} {
		if p.value != "" {
			parts = append(parts, p.flag, p.value)
		}
	}
	if w.pid != 0 {
		parts = append(parts, "--pid", fmt.Sprint(w.pid))
	}
	if expr != "" {
		parts = append(parts, expr)
	}
	return strings.Join(parts, " ")
}
