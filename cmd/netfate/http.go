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
	var budget float64
	cmd := &cobra.Command{
		Use:   "http",
		Short: "What was asked of web servers: status, errors, latency, bytes; names in TLS",
		Long: `Http pairs requests with their responses: HTTP/1.x on any port, recognized by its
first bytes, HTTP/2 and gRPC without TLS from the beginning of a connection, and
upgrades to WebSocket. TCP is put in order first; what is missing is said.

Live, it sees what sockets of this host ask and answer, in every network
namespace, and whose they are: a request between two of them shows once, as the
client's. What is only forwarded it does not see. From a capture (pcap or pcapng)
it sees what the capture holds: tunnels (VXLAN, Geneve, GRE, IP in IP, ERSPAN) are
looked into and fragments put together.

Requests in TLS cannot be read. A TLS connection is one row by itself, told by its
handshake, when it ends: the name that the client asked for (SNI), the version, what
is spoken inside (ALPN; from TLS 1.3 on only what the client offers), why it failed.
It is found on any port, in the tunnels of proxies (CONNECT), and where mail, databases
and others change to TLS with words of their own. Its latency is from the client's
hello to the server's, its bytes are all that each side said. With ECH there may be
another name, encrypted; some browsers always look so.

By path, numbers, dates, UUIDs, hashes and the like become {id}. Errors are
requests without a whole response, and responses of status 500 and above. Latency
is from the first byte of a request to the first byte of its response. Bytes are
those of the bodies as transferred.

  unanswered  no response came before the connection or the capture ended
  reset       a side gave up
  cut         bytes are missing
  malformed   it cannot be read
  unasked     a response to a request that was not seen

TLS handshakes besides fail with an alert and who sent it:

  handshake_failure, protocol_version   they have nothing in common
  unknown_ca, bad_certificate,          the client does not trust the server's
  certificate_expired … by client       certificate
  encrypted_alert by client             the same, most of the time, in TLS 1.3
  bad_certificate, certificate_required
  … by server                           the server does not trust the client's
  not_tls by server                     the port speaks something else
  unfinished                            a side left without a word

Of bodies no more is copied out of the kernel than it takes to find what follows
them; longer chunked ones are counted with their chunk lines. When more is said
than can be read, or reading takes more than --budget of CPUs that are busy, less of
bodies is copied first, and then one request in two, four and so on: each row says
for how many it stands, and sums count them.

Queries are left out unless --show-secrets; names and passwords in URLs and the
field Authorization always are.`,
		Example: `  sudo netfate http                              by path: rate, errors, latency percentiles
  sudo netfate http --each                       one line a request, as it is answered
  sudo netfate http --by process -d 1m           who asks, and how often in vain
  netfate http -r night.pcap                     the same of a capture
  netfate http -r night.pcap --by peer           which server is slow
  netfate http -r night.pcap --by host           who is called, TLS included
  netfate http -r night.pcap --each -o json | jq 'select(.protocol == "tls" and .error)'
  netfate http -r night.pcap --each -o json | jq 'select(.status >= 500)'
  sudo tcpdump -i any -w - port 80 | netfate http -r - --each`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if budget <= 0 || budget > 100 {
				return usagef("--budget is a percentage above 0 and up to 100, not %v", budget)
			}
			w.cfg.Requests, w.cfg.Secrets, w.cfg.Budget = true, secrets, budget/100
			if err := w.prepare(cmd.Context(), nil); err != nil {
				return err
			}
			o := w.options()
			o.By, o.Each, o.Once = by, each, w.read != ""
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
	f.StringVar(&by, "by", "path", "group by "+strings.Join(table.RequestGroups(), ", "))
	f.BoolVarP(&each, "each", "e", false, "one row a request")
	f.BoolVar(&secrets, "show-secrets", false, "show queries, which may hold passwords and tokens (with --each)")
	f.Float64Var(&budget, "budget", 2, "percent of all CPUs to read with while they are busy: beyond it requests are sampled; 100 reads all")
	w.flags(cmd)
	cmd.Flags().Lookup("read").Usage = "capture (pcap, pcapng) or recording to read instead of this host; - for standard input"
	return cmd
}
