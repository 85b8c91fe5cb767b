package record

import (
	"net/netip"
	"time"
)

// Reset is a value of Request.Error, beside those of Query.Error: a side gave up.
const Reset = "reset"

// Request is one HTTP request and its response, as far as it came.
type Request struct {
	Endpoints
	Protocol      string    `rec:"protocol" doc:"http/1.0, http/1.1, h2, grpc or websocket (an upgrade)." otel:"network.protocol.name"`
	TLS           bool      `rec:"tls" doc:"True if it was read before encryption, or after decryption."`
	Side          Side      `rec:"role" doc:"What this host's socket is: client or server; null where it only forwards, or in captures."`
	Start         time.Time `rec:"start" doc:"First byte of the request."`
	Method        string    `rec:"method" doc:"Request method." otel:"http.request.method"`
	HostName      string    `rec:"host_name" doc:"Host that was asked for: the Host field, or :authority." otel:"server.address"`
	Path          string    `rec:"path" doc:"Path as it was asked for, without the query." otel:"url.path"`
	QueryString   string    `rec:"query_string" doc:"What follows the question mark; null unless --show-secrets." otel:"url.query"`
	Status        uint16    `rec:"status" doc:"Status of the response; null if none came." otel:"http.response.status_code"`
	RequestBytes  uint64    `rec:"request_bytes" role:"measure" unit:"bytes" doc:"Body of the request as transferred, without its head and chunk lines." otel:"http.request.body.size"`
	ResponseBytes uint64    `rec:"response_bytes" role:"measure" unit:"bytes" doc:"Body of the response as transferred, without its head and chunk lines." otel:"http.response.body.size"`
	LatencyMicros uint64    `rec:"latency_us" unit:"us" doc:"From the first byte of the request to the first byte of the response."`
	Error         string    `rec:"error" doc:"Why the exchange is not whole: unanswered, reset, cut (bytes are missing), malformed, unasked (no request was seen); null if it is."`
	OneIn         uint32    `rec:"one_in" doc:"This row stands for so many requests, where not all could be kept; null if for itself."`
}

// RequestSum adds up the requests for one path, of one host, method, status, process
// or peer over one interval.
type RequestSum struct {
	Time          time.Time  `rec:"time" role:"time" doc:"End of the interval."`
	Start         time.Time  `rec:"start" doc:"Its beginning."`
	Host          string     `rec:"host" doc:"Name of the host that saw it." otel:"host.name"`
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
