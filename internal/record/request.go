package record

import (
	"net/netip"
	"time"
)

// Values of Request.Error, beside those of Query.Error.
const (
	Reset      = "reset"      // a side gave up
	Unfinished = "unfinished" // a handshake that a side left without a word
)

// TLS is the Request.Protocol of a TLS connection whose requests cannot be read.
const TLS = "tls"

// QUIC is that of a QUIC connection.
const QUIC = "quic"

// Request is one HTTP request and its response, as far as it came; or, where
// they are encrypted, a connection of TLS or QUIC as its handshake tells it.
type Request struct {
	Endpoints
	Protocol      string    `rec:"protocol" doc:"http/1.0, http/1.1, h2, grpc or websocket (an upgrade); tls and quic are connections whose requests cannot be read." otel:"network.protocol.name"`
	TLS           bool      `rec:"tls" doc:"True if it is encrypted: read before that, after decryption, or, if protocol is tls or quic, not at all."`
	TLSVersion    string    `rec:"tls_version" doc:"Version of TLS that the server chose: 1.3, 1.2 … SSLv3; null if it chose none." otel:"tls.protocol.version"`
	TLSCipher     string    `rec:"tls_cipher" doc:"Cipher suite that it chose, as IANA names it, or its number." otel:"tls.cipher"`
	TLSResumed    bool      `rec:"tls_resumed" doc:"True if an earlier session went on, with a short handshake." otel:"tls.resumed"`
	ECH           bool      `rec:"ech" doc:"True if the client's hello holds another one, encrypted: host_name may be that of a front. Some browsers always send something that looks so."`
	ALPN          []string  `rec:"alpn" doc:"Protocol inside TLS that the server chose; from TLS 1.3 on that is encrypted, and these are all that the client offered, the best first." otel:"tls.next_protocol"`
	Side          Side      `rec:"role" doc:"What this host's socket is: client or server; null where it only forwards, or in captures."`
	Start         time.Time `rec:"start" doc:"First byte of the request; of TLS, of the client's hello."`
	Method        string    `rec:"method" doc:"Request method." otel:"http.request.method"`
	HostName      string    `rec:"host_name" doc:"Host that was asked for: the Host field, or :authority; of TLS, the server name (SNI)." otel:"server.address"`
	Path          string    `rec:"path" doc:"Path as it was asked for, without the query." otel:"url.path"`
	QueryString   string    `rec:"query_string" doc:"What follows the question mark; null unless --show-secrets." otel:"url.query"`
	Status        uint16    `rec:"status" doc:"Status of the response; null if none came." otel:"http.response.status_code"`
	RequestBytes  uint64    `rec:"request_bytes" role:"measure" unit:"bytes" doc:"Body of the request as transferred, without its head and chunk lines; of TLS, all that the client said, encrypted, with the handshake." otel:"http.request.body.size"`
	ResponseBytes uint64    `rec:"response_bytes" role:"measure" unit:"bytes" doc:"Body of the response as transferred, without its head and chunk lines; of TLS, all that the server said." otel:"http.response.body.size"`
	LatencyMicros uint64    `rec:"latency_us" unit:"us" doc:"From the first byte of the request to the first byte of the response; of TLS, of the client's hello to that of the server's which chose, or of the server's refusal."`
	Error         string    `rec:"error" doc:"Why the exchange is not whole: unanswered, reset, cut (bytes are missing), malformed, unasked (no request was seen); null if it is. Of TLS, why the handshake failed: besides these, an alert and who sent it (unknown_ca by client), encrypted_alert (TLS 1.3), not_tls, unfinished (closed without a word; of QUIC, or silent)."`
	OneIn         uint32    `rec:"one_in" doc:"This row stands for so many requests, where not all could be kept; null if for itself."`
	TraceID       string    `rec:"trace_id" doc:"Trace that the request says it is of, by its traceparent field (W3C Trace Context); null without one."`
	ParentID      string    `rec:"parent_id" doc:"Span in that trace which made the request; null likewise."`
}

// Sealed reports whether it is a connection whose requests cannot be read.
func (r *Request) Sealed() bool { return r.Protocol == TLS || r.Protocol == QUIC }

// RequestSum adds up the requests, and TLS connections, for one path, of one host,
// method, status, process or peer over one interval.
type RequestSum struct {
	Time          time.Time  `rec:"time" role:"time" doc:"End of the interval."`
	Start         time.Time  `rec:"start" doc:"Its beginning."`
	Host          string     `rec:"host" doc:"Name of the host that saw it." otel:"host.name"`
	Protocol      string     `rec:"protocol" doc:"tls or quic for connections that cannot be read, if sums are by path or status; null for requests." otel:"network.protocol.name"`
	Method        string     `rec:"method" doc:"Request method, if sums are by path or method." otel:"http.request.method"`
	HostName      string     `rec:"host_name" doc:"Host that was asked for, if sums are by path or host." otel:"server.address"`
	Path          string     `rec:"path" doc:"Path with {id} for what names one thing of many, if sums are by path." otel:"url.template"`
	Status        uint16     `rec:"status" doc:"Status of the responses, if sums are by status; null if none came." otel:"http.response.status_code"`
	Error         string     `rec:"error" doc:"Why no response came, if sums are by status."`
	Peer          netip.Addr `rec:"peer_addr" doc:"The remote end, if sums are by peer: where neither is, the server." otel:"network.peer.address"`
	PID           uint32     `rec:"pid" doc:"Process that owns the socket, if sums are by process." otel:"process.pid"`
	Comm          string     `rec:"comm" doc:"Its name." otel:"process.executable.name"`
	ContainerName string     `rec:"container_name" doc:"Its container." otel:"container.name"`
	Requests      uint64     `rec:"requests" role:"measure" doc:"Requests, those that were sampled away included."`
	Errors        *uint64    `rec:"errors" role:"measure" doc:"Of these, how many have no whole response, or one of status 500 and above; null if they were only counted."`
	RequestBytes  *uint64    `rec:"request_bytes" role:"measure" unit:"bytes" doc:"Bodies of the requests as transferred; null if they were only counted."`
	ResponseBytes *uint64    `rec:"response_bytes" role:"measure" unit:"bytes" doc:"Bodies of the responses as transferred; null if requests were only counted."`
	P50Micros     uint64     `rec:"p50_us" unit:"us" doc:"Latency that half of the responses kept below, within 1 %."`
	P95Micros     uint64     `rec:"p95_us" unit:"us" doc:"The same of 95 in 100."`
	P99Micros     uint64     `rec:"p99_us" unit:"us" doc:"The same of 99 in 100."`
	Other         bool       `rec:"other" doc:"True for the counted remainder of what did not fit the table."`
}
