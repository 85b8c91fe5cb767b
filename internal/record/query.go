package record

import "time"

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
