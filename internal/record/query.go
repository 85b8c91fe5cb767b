package record

import "time"

// Values of Query.Error.
const (
	Unanswered = "unanswered" // no answer came in time
	Unasked    = "unasked"    // no question was seen
	Malformed  = "malformed"  // question or answer cannot be read to its end
	CutOff     = "cut"        // the same, since it was not captured whole
)

// Query is one DNS question and its answer, if one came.
type Query struct {
	Endpoints
	Protocol      string    `rec:"protocol" doc:"dns, mdns or llmnr." otel:"network.protocol.name"`
	Side          Side      `rec:"role" doc:"What this host's socket is: client or server; null where it only forwards, or in captures."`
	Start         time.Time `rec:"start" doc:"When the question was first asked."`
	QName         string    `rec:"qname" doc:"Name that was asked for, in lower case, without the last dot." otel:"dns.question.name"`
	QType         string    `rec:"qtype" doc:"Type that was asked for: A, AAAA, MX … or TYPEn." otel:"dns.question.type"`
	RCode         string    `rec:"rcode" doc:"Response code: NOERROR, NXDOMAIN, SERVFAIL … or RCODEn; null if no answer came."`
	Answers       []string  `rec:"answers" doc:"What was answered: addresses, names; other data as its type."`
	TTL           uint32    `rec:"ttl_s" unit:"s" doc:"Smallest time to live among the answers."`
	LatencyMicros uint64    `rec:"latency_us" unit:"us" doc:"From the first time that it was asked to the answer."`
	Retries       uint32    `rec:"retries" role:"measure" doc:"Times that the question was asked again before an answer came."`
	Server        string    `rec:"server" doc:"Address that was asked." otel:"server.address"`
	Truncated     bool      `rec:"truncated" doc:"True if the answer did not fit and has to be asked for by TCP."`
	Error         string    `rec:"error" doc:"unanswered, unasked (no question was seen), malformed, or cut (not captured whole); null if it was answered."`
}

// QuerySum adds up the queries for one name, to one server or of one process over
// one interval.
type QuerySum struct {
	Time          time.Time `rec:"time" role:"time" doc:"End of the interval."`
	Start         time.Time `rec:"start" doc:"Its beginning."`
	Host          string    `rec:"host" doc:"Name of the host that saw it." otel:"host.name"`
	Protocol      string    `rec:"protocol" doc:"dns, mdns or llmnr." otel:"network.protocol.name"`
	QName         string    `rec:"qname" doc:"Name that was asked for, if sums are by name." otel:"dns.question.name"`
	Server        string    `rec:"server" doc:"Address that was asked, if sums are by server." otel:"server.address"`
	PID           uint32    `rec:"pid" doc:"Process that asked, if sums are by process." otel:"process.pid"`
	Comm          string    `rec:"comm" doc:"Its name." otel:"process.executable.name"`
	ContainerName string    `rec:"container_name" doc:"Its container." otel:"container.name"`
	Queries       uint64    `rec:"queries" role:"measure" doc:"Questions, each once however often it was asked again."`
	Unanswered    uint64    `rec:"unanswered" role:"measure" doc:"Of these, how many got no answer in time."`
	Failed        uint64    `rec:"failed" role:"measure" doc:"How many were answered with something else than NOERROR."`
	RCodes        []string  `rec:"rcodes" doc:"The failures by response code: NXDOMAIN 3, SERVFAIL 1 …"`
	Malformed     uint64    `rec:"malformed" role:"measure" doc:"How many could not be read to their end: malformed, or cut by who captured."`
	Retries       uint64    `rec:"retries" role:"measure" doc:"Times that questions were asked again."`
	P50Micros     uint64    `rec:"p50_us" unit:"us" doc:"Latency that half of the answers kept below, within 1 %."`
	P95Micros     uint64    `rec:"p95_us" unit:"us" doc:"The same of 95 in 100."`
	P99Micros     uint64    `rec:"p99_us" unit:"us" doc:"The same of 99 in 100."`
	Other         bool      `rec:"other" doc:"True for the counted remainder of what did not fit the table."`
}
