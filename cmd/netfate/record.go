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
	"github.com/netfate/netfate/internal/recording"
)

func newRecord() *cobra.Command {
	w := &watch{every: time.Second}
	var path string
	var maxBytes int64
	var books bool
	cmd := &cobra.Command{
		Use:   "record -w FILE [FILTER]",
		Short: "Save what the sensors saw, for -r on any machine",
		Long: `Record keeps what drops, flows, conns, dns and http would show, with samples of lost
packets, in a file that every command reads with -r: anywhere, without privileges. Of
requests it keeps no queries, and of TLS what the handshakes tell. With --ledger it
keeps the books that netfate ledger shows. The file is bounded
by --max-size and --duration and good up to its last second even if netfate is killed.`,
		Example: `  sudo netfate record -w night.nfr -d 8h     a night
  sudo netfate record -w - | ssh desk 'cat > host.nfr'
  netfate drops -r night.nfr                 what was lost
  netfate flows -r night.nfr --by process    who talked
  netfate http -r night.nfr --by status      what web servers answered`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if path == "" {
				return usagef("record needs -w FILE; '-w -' writes to standard output")
			}
			w.cfg.Drops, w.cfg.Flows, w.cfg.Conns, w.cfg.Queries, w.cfg.Requests = true, true, true, true, true
			w.cfg.Samples, w.cfg.Ledger = fewSamples, books
			if books && len(args) > 0 {
				return usagef("--ledger balances all packets: leave the filter %q out, or --ledger", expression(args))
			}
			if err := w.prepare(cmd.Context(), args); err != nil {
				return err
			}
			return w.record(cmd.Context(), path, strings.Join(args, " "), maxBytes)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&path, "write", "w", "", "file to write, - for standard output")
	f.Int64Var(&maxBytes, "max-size", 1<<30, "stop when the file has this many bytes")
	f.BoolVar(&books, "ledger", false, "keep the ledger too: reads the kernel's counters of all namespaces each interval")
	f.DurationVarP(&w.duration, "duration", "d", 0, "stop after this long, for example 8h (0: until Ctrl-C)")
	f.DurationVar(&w.every, "every", w.every, "length of an interval")
	w.selection(cmd)
	return cmd
}

func (w *watch) record(ctx context.Context, path, expr string, maxBytes int64) (err error) {
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
	err = w.run(ctx, "drops and flows", []agent.Output{{Name: "the recording", Sink: writer}})
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
