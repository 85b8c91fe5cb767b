package main

import (
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/dns"
	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/view/table"
)

func newDNS() *cobra.Command {
	w := &watch{every: time.Second}
	var by string
	var each bool
	cmd := &cobra.Command{
		Use:   "dns [FILTER]",
		Short: "What was asked of DNS: answers, failures, latency",
		Long: `Dns pairs questions with their answers, over UDP and TCP: name, type, answer,
response code and latency, and what was asked again or never answered. mDNS and
LLMNR are told apart. It asks no resolver; what it says was on the wire.

Live, it sees what sockets of this host ask and answer, in every network
namespace, and whose they are; what is only forwarded it does not see. With -i it
reads the packets of one interface whole instead, like those of a capture (pcap or
pcapng): a router's, a virtual machine's, with --promisc a whole bridge's or a mirror
port's. Tunnels (VXLAN, Geneve, GRE, IP in IP, ERSPAN) are looked into and fragments
put together; owners are not known then.

A question is unanswered after 5 s, or when the watch ends; one that is asked
again before is the same question, and its latency counts from the first time.
An answer to no question that was seen is shown as unasked, a message that cannot
be read to its end as malformed, or as cut if not all of it was seen.

FILTER is a pcap-filter expression as tcpdump takes it. Of a capture or with -i it selects
packets, and spares netfate on a busy interface what nobody asked for; live it selects
rows, by addresses and ports.`,
		Example: `  sudo netfate dns                              by name: failures, latency percentiles
  sudo netfate dns --each                       one line a question, as it is answered
  sudo netfate dns --by process -d 1m           who asks, and how often in vain
  sudo netfate dns -i br0 --promisc --each      what the machines on a bridge ask
  netfate dns -r night.pcap --by server         which resolver is slow
  netfate dns -r night.pcap --each              one line a question
  netfate dns -r night.pcap --each -o json | jq 'select(.rcode == "SERVFAIL")'
  sudo tcpdump -i any -w - port 53 | netfate dns -r - --each`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.checkPast(cmd, args); err != nil {
				return err
			}
			w.cfg.Queries = true
			if err := w.preparePackets(cmd.Context(), args); err != nil {
				return err
			}
			o := w.options()
			o.By, o.Each, o.Once = by, each, w.gone()
			view, err := table.NewQueries(os.Stdout, os.Stderr, o)
			if err != nil {
				return usageError{err}
			}
			outputs := []agent.Output{{Name: "the table", Sink: view}}
			if w.isPast() {
				return w.fromHistory(cmd.Context(), history.Queries, outputs)
			}
			if w.onWire() {
				return w.listen(cmd.Context(), "DNS", outputs, dns.New(dns.Config{}))
			}
			if w.read != "" {
				return w.captureOrRecording(cmd.Context(), outputs, dns.New(dns.Config{}))
			}
			return w.run(cmd.Context(), "DNS", outputs)
		},
	}
	f := cmd.Flags()
	f.StringVar(&by, "by", "name", "group by "+strings.Join(table.QueryGroups(), ", "))
	f.BoolVarP(&each, "each", "e", false, "one row a query")
	w.captureOrRecordingFlags(cmd)
	w.wireFlags(cmd)
	w.pastFlags(cmd)
	return cmd
}
