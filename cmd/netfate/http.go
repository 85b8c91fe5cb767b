package main

import (
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/capture"
	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/http"
	"github.com/netfate/netfate/internal/quic"
	"github.com/netfate/netfate/internal/view/table"
)

func newHTTP() *cobra.Command {
	w := &watch{every: time.Second}
	var by string
	var each, secrets, noTLS, counted bool
	var budget float64
	cmd := &cobra.Command{
		Use:   "http [FILTER]",
		Short: "What was asked of web servers: status, errors, latency, bytes; names in TLS",
		Long: `Http pairs requests with their responses: HTTP/1.x on any port, recognized by its
first bytes, HTTP/2 and gRPC without TLS from the beginning of a connection, and
upgrades to WebSocket. TCP is put in order first; what is missing is said.

Live, it sees what sockets of this host ask and answer, in every network
namespace, and whose they are: a request between two of them shows once, as the
client's. What is only forwarded it does not see.

Live, requests inside TLS are read where programs give them to OpenSSL, BoringSSL,
GnuTLS or Go's crypto/tls, in containers too. A call of these costs them 1 to 2 us
then; --no-tls leaves them alone. New programs are looked for each second, and at
their first handshake; of one that asks before it is found, and whose library is none of
those installed, the first connection shows as a handshake only.

All other TLS cannot be read, in captures none. Such a connection is one row by itself,
by what its handshake tells: the name that the client asked for (SNI), the version, what
is spoken inside (ALPN; from TLS 1.3 on only what the client offers), why it failed. In
captures the row comes when the connection ends, otherwise when the handshake is over, and
then without bytes. It is found on any port, in the tunnels of proxies (CONNECT), and in
captures and with -i also where mail, databases and others change to TLS with words of
their own. Its latency is from the client's hello to the server's, its bytes are all that
each side said. With ECH there may be another name, encrypted; some browsers always look so.
QUIC is told likewise (protocol quic), in captures and with -i, not by sockets. Its end cannot
be seen: a connection that is silent for a minute is over.

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

With --count, for hosts too busy for all this, the kernel counts requests of HTTP/1.x
by method, host and path, and nothing is copied out of it: there is no status, no
latency, no process, and no recording of it. A request counts when its first packet
passes by. One whose method, host and path are not all in that packet, or too long
(host 63 bytes, path 143), or more than 8,192 kinds in one interval, counts by its
method alone, as ~other: sums stay exact. HTTP/2 is not counted.

Queries are left out unless --show-secrets; names and passwords in URLs and the
field Authorization always are.

With -i it reads the packets of an interface whole instead of what sockets say, also
what is only forwarded: a router's, a virtual machine's, with --promisc a whole
bridge's or a mirror port's. Tunnels (VXLAN, Geneve, GRE, IP in IP, ERSPAN) are looked
into and fragments put together, there and in captures; owners are not known then.

FILTER is a pcap-filter expression as tcpdump takes it. Of a capture or with -i it selects
packets, and spares netfate on a busy interface what nobody asked for; live it selects
rows, by addresses and ports.`,
		Example: `  sudo netfate http                              by path: rate, errors, latency percentiles
  sudo netfate http --each                       one line a request, as it is answered
  sudo netfate http --by process -d 1m           who asks, and how often in vain
  sudo netfate http -i br0 --promisc --by host   what the machines on a bridge are asked
  netfate http -r night.pcap                     the same of a capture
  netfate http -r night.pcap --by peer           which server is slow
  netfate http -r night.pcap --by host           who is called, TLS included
  netfate http -r night.pcap --each -o json | jq 'select(.protocol == "tls" and .error)'
  netfate http -r night.pcap --each -o json | jq 'select(.status >= 500)'
  sudo netfate http --count -d 10s               how often what is asked for, at the least cost
  sudo tcpdump -i any -w - port 80 | netfate http -r - --each`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.checkPast(cmd, args); err != nil {
				return err
			}
			if budget <= 0 || budget > 100 {
				return usagef("--budget is a percentage above 0 and up to 100, not %v", budget)
			}
			if counted {
				if flag := beyondCounts(cmd); flag != "" {
					return usagef("--count knows how often what is asked for and no more: leave out --%s", flag)
				}
				if len(args) > 0 {
					return usagef("--count counts all requests: leave out the filter %q", expression(args))
				}
			}
			w.cfg.Requests, w.cfg.CountRequests = !counted, counted
			w.cfg.Secrets, w.cfg.Budget, w.cfg.Plaintext = secrets, budget/100, !noTLS && !counted
			if err := w.preparePackets(cmd.Context(), args); err != nil {
				return err
			}
			o := w.options()
			o.By, o.Each, o.Count, o.Once = by, each, counted, w.gone()
			view, err := table.NewRequests(os.Stdout, os.Stderr, o)
			if err != nil {
				return usageError{err}
			}
			outputs := []agent.Output{{Name: "the table", Sink: view}}
			early := w.read == ""
			decoders := []capture.Decoder{http.New(http.Config{Secrets: secrets, Early: early}), quic.New(quic.Config{Early: early})}
			if w.isPast() {
				return w.fromHistory(cmd.Context(), history.Requests, outputs)
			}
			if w.onWire() {
				return w.listen(cmd.Context(), "HTTP", outputs, decoders...)
			}
			if w.read != "" {
				return w.captureOrRecording(cmd.Context(), outputs, decoders...)
			}
			return w.run(cmd.Context(), "HTTP", outputs)
		},
	}
	f := cmd.Flags()
	f.StringVar(&by, "by", "path", "group by "+strings.Join(table.RequestGroups(), ", ")+"; with --count by "+strings.Join(table.RequestCountGroups(), ", "))
	f.BoolVar(&counted, "count", false, "count in the kernel, copy nothing: for busy hosts")
	f.BoolVarP(&each, "each", "e", false, "one row a request")
	f.BoolVar(&secrets, "show-secrets", false, "show queries, which may hold passwords and tokens (with --each)")
	f.BoolVar(&noTLS, "no-tls", false, "read nothing inside TLS: a call of its libraries then costs nothing (see above)")
	f.Float64Var(&budget, "budget", 2, "percent of all CPUs to read with while they are busy: beyond it requests are sampled; 100 reads all")
	w.captureOrRecordingFlags(cmd)
	w.wireFlags(cmd)
	w.pastFlags(cmd)
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
