package main

import (
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/view/table"
)

func newConns() *cobra.Command {
	w := &watch{every: time.Second}
	var by string
	var failed, live, listeners bool
	cmd := &cobra.Command{
		Use:   "conns [FILTER]",
		Short: "TCP connections: opened, failed and why, closed by whom, how they fare",
		Long: `Conns shows TCP connections of all network namespaces as their sockets know them:
what happens to them as it happens, those that are open, or what becomes of
those of each process or peer.

A connect fails because it was refused, timed out, found the host or net
unreachable or no local port, or because the program gave up (aborted). A
connection is closed by the side that sends the first FIN, by a reset of either,
or by a timeout. Bytes are those of the application. Nothing is done for each
packet: it costs next to nothing where connections live long.

A peer has the name that DNS told the socket's owner for its address before the
connection began; nobody is asked for it, and DNS inside TLS is not read.

FILTER is a pcap-filter expression as tcpdump takes it; of a packet, connections
have addresses and ports only.`,
		Example: `  sudo netfate conns                       what happens, one line an event
  sudo netfate conns --failed              connects that failed, connections that broke
  sudo netfate conns --live                what is open, by rate, refreshed
  sudo netfate conns --by peer -d 1m       latencies and failures of each server
  sudo netfate conns --listeners           who waits for connections, and how many wait
  sudo netfate conns -f dst port 5432      who cannot reach the database
  sudo netfate conns --comm nginx -o json  one object a line`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if w.iface != "" {
				return usagef("--interface %s: a connection belongs to no interface; select with --netns, --pid, --comm or --container", w.iface)
			}
			if err := w.checkPast(cmd, args); err != nil {
				return err
			}
			w.cfg.Conns, w.cfg.OpenConns = true, live || listeners
			if err := w.prepare(cmd.Context(), args); err != nil {
				return err
			}
			o := w.options()
			o.By, o.Failed, o.Live, o.Listeners = by, failed, live, listeners
			view, err := table.NewConns(os.Stdout, os.Stderr, o)
			if err != nil {
				return usageError{err}
			}
			outputs := []agent.Output{{Name: "the table", Sink: view}}
			if w.isPast() {
				return w.fromHistory(cmd.Context(), history.Conns, outputs)
			}
			return w.run(cmd.Context(), "connections", outputs)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&live, "live", "l", false, "a table of those that are open")
	f.StringVar(&by, "by", "", "group by "+strings.Join(table.ConnGroups(), ", "))
	f.BoolVarP(&failed, "failed", "f", false, "only those that failed or broke, with the cause")
	f.BoolVar(&listeners, "listeners", false, "a table of listening sockets and their queues")
	w.flags(cmd)
	w.naming(cmd)
	w.pastFlags(cmd)
	return cmd
}
