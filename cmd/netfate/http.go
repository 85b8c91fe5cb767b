package main

import (
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/http"
	"github.com/netfate/netfate/internal/view/table"
)

func newHTTP() *cobra.Command {
	w := &watch{every: time.Second}
	var by string
	var each, secrets, counted bool
	var budget float64
	cmd := &cobra.Command{
		Use:   "http",
		Short: "What was asked of web servers: status, errors, latency, bytes",
		Long: `Http pairs requests with their responses: HTTP/1.x on any port, recognized by its
first bytes, HTTP/2 and gRPC without TLS from the beginning of a connection, and
upgrades to WebSocket. TCP is put in order first; what is missing is said.

Live, it sees what sockets of this host ask and answer, in every network
namespace, and whose they are: a request between two of them shows once, as the
client's. What is only forwarded it does not see. From a capture (pcap or pcapng)
it sees what the capture holds: tunnels (VXLAN, Geneve, GRE, IP in IP, ERSPAN) are
looked into and fragments put together.

By path, numbers, dates, UUIDs, hashes and the like become {id}. Errors are
requests without a whole response, and responses of status 500 and above. Latency
is from the first byte of a request to the first byte of its response. Bytes are
those of the bodies as transferred.

  unanswered  no response came before the connection or the capture ended
  reset       a side gave up
  cut         bytes are missing
  malformed   it cannot be read
  unasked     a response to a request that was not seen

Of bodies no more is copied out of the kernel than it takes to find what follows
them; longer chunked ones are counted with their chunk lines. When more is said
than can be read, or reading takes more than --budget of CPUs that are busy, less of
bodies is copied first, and then one request in two, four and so on: each row says
for how many it stands, and sums count them.

With --count, for hosts too busy for all this, the kernel counts requests of HTTP/1.x
by method, host and path, and nothing is copied out of it: there is no status, no
latency, no process, and no recording of it. A request counts when its first packet
passes by. One whose method, host and path are not all in that packet, or too long
(host 63 bytes, path 143), or more than 8,192 kinds in one interval, counts by its
method alone, as ~other: sums stay exact. HTTP/2 is not counted.

Queries are left out unless --show-secrets; names and passwords in URLs and the
field Authorization always are.`,
		Example: `  sudo netfate http                              by path: rate, errors, latency percentiles
  sudo netfate http --each                       one line a request, as it is answered
  sudo netfate http --by process -d 1m           who asks, and how often in vain
  netfate http -r night.pcap                     the same of a capture
  netfate http -r night.pcap --by peer           which server is slow
  netfate http -r night.pcap --each -o json | jq 'select(.status >= 500)'
  sudo netfate http --count -d 10s               how often what is asked for, at the least cost
  sudo tcpdump -i any -w - port 80 | netfate http -r - --each`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if budget <= 0 || budget > 100 {
				return usagef("--budget is a percentage above 0 and up to 100, not %v", budget)
			}
			if counted {
				if flag := beyondCounts(cmd); flag != "" {
					return usagef("--count knows how often what is asked for and no more: leave out --%s", flag)
				}
			}
			w.cfg.Requests, w.cfg.CountRequests = !counted, counted
			w.cfg.Secrets, w.cfg.Budget = secrets, budget/100
			if err := w.prepare(cmd.Context(), nil); err != nil {
				return err
			}
			o := w.options()
			o.By, o.Each, o.Count, o.Once = by, each, counted, w.read != ""
			view, err := table.NewRequests(os.Stdout, os.Stderr, o)
			if err != nil {
				return usageError{err}
			}
			outputs := []agent.Output{{Name: "the table", Sink: view}}
			if w.read != "" {
				return w.captureOrRecording(cmd.Context(), outputs, http.New(http.Config{Secrets: secrets}))
			}
			return w.run(cmd.Context(), "HTTP", outputs)
		},
	}
	f := cmd.Flags()
	f.StringVar(&by, "by", "path", "group by "+strings.Join(table.RequestGroups(), ", ")+"; with --count by "+strings.Join(table.RequestCountGroups(), ", "))
	f.BoolVar(&counted, "count", false, "count in the kernel, copy nothing: for busy hosts")
	f.BoolVarP(&each, "each", "e", false, "one row a request")
	f.BoolVar(&secrets, "show-secrets", false, "show queries, which may hold passwords and tokens (with --each)")
	f.Float64Var(&budget, "budget", 2, "percent of all CPUs to read with while they are busy: beyond it requests are sampled; 100 reads all")
	w.flags(cmd)
	cmd.Flags().Lookup("read").Usage = "capture (pcap, pcapng) or recording to read instead of this host; - for standard input"
	return cmd
}

// beyondCounts returns the first flag that asks for what --count does not know;
// empty if none does.
func beyondCounts(cmd *cobra.Command) string {
	for _, name := range []string{
		"each", "read", "show-secrets", "budget", "interface", "netns", "pid", "comm", "container",
	} {
		if cmd.Flags().Changed(name) {
			return name
		}
	}
	return ""
}
