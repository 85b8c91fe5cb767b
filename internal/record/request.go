package record

import "time"

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
	Error         string    `rec:"error" doc:"Why the exchange is not whole: unanswered, reset, cut (bytes are missing), malformed, midway (the request was not seen); null if it is."`
	OneIn         uint32    `rec:"one_in" doc:"This row stands for so many requests, where not all could be kept; null if for itself."`
}
