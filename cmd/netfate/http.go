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
	var each, secrets bool
	cmd := &cobra.Command{
		Use:   "http {-r FILE | -i IFACE} [FILTER]",
		Short: "What was asked of web servers: status, errors, latency, bytes",
		Long: `Http pairs requests with their responses: HTTP/1.x on any port, recognized by its
first bytes, HTTP/2 and gRPC without TLS from the beginning of a connection, and
upgrades to WebSocket. TCP is put in order first; what is missing is said.

By path, numbers, dates, UUIDs, hashes and the like become {id}. Errors are
requests without a whole response, and responses of status 500 and above. Latency
is from the first byte of a request to the first byte of its response. Bytes are
those of the bodies as transferred.

  unanswered  no response came before the connection or the capture ended
  reset       a side gave up
  cut         bytes are missing
  malformed   it cannot be read
  unasked     a response to a request that was not seen

Queries are left out unless --show-secrets; names and passwords in URLs and the
field Authorization always are.

FILE is a capture, pcap or pcapng. With -i it reads the packets of an interface
whole, also what is only forwarded: a router's, a virtual machine's, with --promisc a
whole bridge's or a mirror port's. Tunnels (VXLAN, Geneve, GRE, IP in IP, ERSPAN) are
looked into and fragments put together.

FILTER is a pcap-filter expression as tcpdump takes it. On a busy interface it spares
netfate what nobody asked for: what it has no time for is counted.`,
		Example: `  netfate http -r night.pcap                     by path: rate, errors, latency percentiles
  netfate http -r night.pcap --by peer           which server is slow
  sudo netfate http -i br0 --promisc --by host   what the machines on a bridge are asked
  netfate http -r night.pcap --each              one line a request
  netfate http -r night.pcap --each -o json | jq 'select(.status >= 500)'
  sudo tcpdump -i any -w - port 80 | netfate http -r - --each`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.needPackets(cmd); err != nil {
				return err
			}
			if err := w.preparePackets(cmd.Context(), args); err != nil {
				return err
			}
			o := w.options()
			o.By, o.Each, o.Once = by, each, w.read != ""
			view, err := table.NewRequests(os.Stdout, os.Stderr, o)
			if err != nil {
				return usageError{err}
			}
			outputs := []agent.Output{{Name: "the table", Sink: view}}
			decoder := http.New(http.Config{Secrets: secrets})
			if w.onWire() {
				return w.listen(cmd.Context(), "HTTP", outputs, decoder)
			}
			return w.capture(cmd.Context(), outputs, decoder)
		},
	}
	f := cmd.Flags()
	f.StringVar(&by, "by", "path", "group by "+strings.Join(table.RequestGroups(), ", "))
	f.BoolVarP(&each, "each", "e", false, "one row a request")
	f.BoolVar(&secrets, "show-secrets", false, "show queries, which may hold passwords and tokens (with --each)")
	w.captureFlags(cmd)
	w.wireFlags(cmd)
	return cmd
}
