package main

import (
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/flows"
	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/verdict"
	"github.com/netfate/netfate/internal/view/table"
)

// Samples that each CPU may take in a tenth of a second: enough for a stack or
// an inner tuple now and then, or for showing events one by one.
const (
	fewSamples  = 2
	manySamples = 1000
)

func newDrops() *cobra.Command {
	w := &watch{every: time.Second}
	var all, each, stack bool
	cmd := &cobra.Command{
		Use:   "drops [FILTER]",
		Short: "What is lost: reason, place, flow, owner, and whether it matters",
		Long: `Drops shows every packet that the kernel freed undelivered, in all network
namespaces: the reason, the kernel function, the flow, whose it was, and a
verdict:

  loss      should have arrived, and did not
  resource  no room: a full queue, buffer or table
  refused   nobody wanted it: a closed port
  policy    a rule of this host asked for it
  invalid   it was broken or forged
  benign    cost nobody anything (hidden; --all shows it)

Counts are made in the kernel and are complete. A peer has the name that DNS
told the socket's owner for its address; nobody is asked for it. FILTER is a pcap-filter
expression as tcpdump takes it, evaluated in the kernel.`,
		Example: `  sudo netfate drops                      a table, refreshed every second
  sudo netfate drops -d 30s -o json       thirty seconds, one object a line
  sudo netfate drops --each --stack tcp   each lost TCP packet with its kernel stack
  sudo netfate drops --netns web -i eth0  one namespace, one interface
  netfate drops -r night.nfr              from a recording
  netfate drops --since 03:00 --until 04:00   from the history`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.checkPast(cmd, args); err != nil {
				return err
			}
			w.cfg.Drops, w.cfg.Stack, w.cfg.Samples = true, stack, fewSamples
			if each {
				w.cfg.Samples = manySamples
			}
			if err := w.prepare(cmd.Context(), args); err != nil {
				return err
			}
			o := w.options()
			o.All, o.Each, o.Stack = all, each, stack
			book, err := verdict.In(tongue())
			if err != nil {
				return err
			}
			w.cfg.Book, o.Why = book, why(book)
			view, err := table.NewDrops(os.Stdout, os.Stderr, o)
			if err != nil {
				return usageError{err}
			}
			outputs := []agent.Output{{Name: "the table", Sink: view}}
			if w.isPast() {
				return w.fromHistory(cmd.Context(), history.Drops, outputs)
			}
			return w.run(cmd.Context(), "drops", outputs)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&all, "all", "a", false, "show benign drops too")
	f.BoolVarP(&each, "each", "e", false, "one row an event, as far as they are sampled")
	f.BoolVar(&stack, "stack", false, "with the kernel stack of a sample")
	w.flags(cmd)
	w.naming(cmd)
	w.pastFlags(cmd)
	return cmd
}

// why returns what explains a drop in one line. The place is the location
// without its offset.
func why(book *verdict.Book) func(record.Drop) string {
	return func(d record.Drop) string {
		place, _, _ := strings.Cut(d.Location, "+")
		return book.Judge(verdict.Case{
			Reason: d.Reason, Subsystem: d.Subsystem, Place: place, Proto: d.Proto,
			SocketState: d.SocketState, Direction: d.Direction, Multicast: agent.Group(d.DstAddr),
		}).Why
	}
}

func newFlows() *cobra.Command {
	w := &watch{every: time.Second}
	var by string
	var all, rtt bool
	cmd := &cobra.Command{
		Use:   "flows [FILTER]",
		Short: "Who talks to whom: bytes, packets, rates, drops",
		Long: `Flows counts every packet of the host, in all network namespaces, attached to no
interface. Packets and bytes are those of the wire: a GSO or GRO buffer counts
as its segments, each with its headers. The host's totals count a packet once,
however many veths and bridges it crosses; --by interface counts it on each.

From a capture (pcap or pcapng) every frame is in one flow, so that flows add up to
the capture: what is in a tunnel counts as that, a fragment to the flow of its
packet. What goes out is then what the side sent that began, and comes in what it
was answered.

A peer has the name that DNS told the socket's owner for its address before the
flow began; nobody is asked for it, and DNS inside TLS is not read. --rtt watches
connections too: round-trip times, and segments that were sent again.

FILTER is a pcap-filter expression as tcpdump takes it, evaluated in the kernel, or
on each frame of the capture.`,
		Example: `  sudo netfate flows                       flows by rate, refreshed every second
  sudo netfate flows --by process          who uses the bandwidth
  sudo netfate flows --by interface -o csv for a spreadsheet
  sudo netfate flows --rtt port 5432       how far the database is, and what is lost on the way
  sudo netfate flows -d 1m -n 10 port 443  the ten busiest HTTPS flows of a minute
  netfate flows -r night.pcap -n 20        who talked most
  netfate flows -r night.pcap -o json ip6  each second's flows of IPv6, one object a line`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.checkPast(cmd, args); err != nil {
				return err
			}
			w.cfg.Flows, w.cfg.Drops, w.cfg.Conns = true, true, rtt
			if err := w.preparePackets(cmd.Context(), args); err != nil {
				return err
			}
			o := w.options()
			o.By, o.All, o.Selected = by, all, w.cfg.Select.Any()
			o.Once, o.Captured = o.Once || w.isCapture, w.isCapture
			view, err := table.NewFlows(os.Stdout, os.Stderr, o)
			if err != nil {
				return usageError{err}
			}
			outputs := []agent.Output{{Name: "the table", Sink: view}}
			switch {
			case w.isPast():
				return w.fromHistory(cmd.Context(), history.Flows, outputs)
			case w.read != "":
				return w.captureOrRecording(cmd.Context(), outputs, flows.New())
			}
			return w.run(cmd.Context(), "flows", outputs)
		},
	}
	f := cmd.Flags()
	f.StringVar(&by, "by", "flow", "group by "+strings.Join(table.FlowGroups(), ", "))
	f.BoolVar(&rtt, "rtt", false, "with round-trip times and segments sent again, from the TCP sockets of this host")
	f.BoolVarP(&all, "all", "a", false, "everything (flows hide nothing; accepted for symmetry with drops)")
	if err := f.MarkHidden("all"); err != nil {
		panic(err)
	}
	w.captureOrRecordingFlags(cmd)
	w.naming(cmd)
	w.pastFlags(cmd)
	return cmd
}
