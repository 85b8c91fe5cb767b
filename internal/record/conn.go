package record

import "time"

// Side is the part that this host's socket plays in a connection or request.
type Side string

// The sides.
const (
	Client Side = "client"
	Server Side = "server"
)

// ConnEvent is what happened to a connection when its record was made.
type ConnEvent string

// The events. Open tells of one that goes on, at the end of an interval.
const (
	ConnOpened ConnEvent = "opened"
	ConnOpen   ConnEvent = "open"
	ConnFailed ConnEvent = "failed"
	ConnClosed ConnEvent = "closed"
	// ConnListens tells of a listener: who waits for connections, and how many
	// wait for it.
	ConnListens ConnEvent = "listens"
)

// Conn is a TCP connection as one socket of this host knows it: when it opens,
// fails or closes, and while it is open; or a listener. The source is the
// client. Numbers count from the connection's beginning, even if netfate came later.
type Conn struct {
	Endpoints
	Event          ConnEvent `rec:"event" doc:"What happened: opened, open (it goes on), failed, closed, or listens, of a listener."`
	State          string    `rec:"state" doc:"State of the socket: established, close_wait, syn_sent …" otel:"network.connection.state"`
	Side           Side      `rec:"role" doc:"What this host's socket is: client or server."`
	Start          time.Time `rec:"start" doc:"First SYN, or when netfate found the connection open."`
	Older          bool      `rec:"older" doc:"True if the connection is older than netfate: start and connect time are not known."`
	DurationMicros uint64    `rec:"duration_us" unit:"us" doc:"From start to now, or to the end."`
	ConnectMicros  uint32    `rec:"connect_us" unit:"us" doc:"From the SYN to established; for a failed one, to the failure."`
	RTTMicros      uint32    `rec:"rtt_us" unit:"us" doc:"Smoothed round-trip time."`
	RTTMinMicros   uint32    `rec:"rtt_min_us" unit:"us" doc:"Smallest round-trip time of the last minutes (net.ipv4.tcp_min_rtt_wlen)."`
	RTTVarMicros   uint32    `rec:"rtt_var_us" unit:"us" doc:"Mean deviation of the round-trip time."`
	BytesIn        uint64    `rec:"bytes_in" role:"measure" unit:"bytes" doc:"Payload received, each byte once."`
	BytesOut       uint64    `rec:"bytes_out" role:"measure" unit:"bytes" doc:"Payload that the peer has acknowledged, each byte once."`
	SegmentsIn     uint64    `rec:"segments_in" role:"measure" unit:"packets" doc:"TCP segments received."`
	SegmentsOut    uint64    `rec:"segments_out" role:"measure" unit:"packets" doc:"TCP segments sent, those sent again included."`
	Retransmits    uint64    `rec:"retransmits" role:"measure" unit:"packets" doc:"TCP segments sent again."`
	OutOfOrder     uint64    `rec:"out_of_order" role:"measure" unit:"packets" doc:"TCP segments received out of order."`
	RwndMicros     uint64    `rec:"rwnd_limited_us" unit:"us" doc:"Time that the peer's receive window held this side up."`
	ZeroWindow     bool      `rec:"zero_window" doc:"True if the peer has no room at this moment."`
	ClosedBy       string    `rec:"closed_by" doc:"Who ended it: local or peer by the first FIN, both at once, local_reset, peer_reset, timeout, or kernel; null while it lives, or if not known."`
	Error          string    `rec:"error" otel:"error.type" doc:"Why it failed or broke: refused, timed_out, host_unreachable, net_unreachable, no_local_port, forbidden, reset, aborted …; null if it did not."`
	Backlog        uint64    `rec:"backlog" doc:"Of a listener: connections that wait to be accepted."`
	BacklogMax     uint64    `rec:"backlog_max" doc:"Of a listener: how many may wait."`
	SynQueue       uint64    `rec:"syn_queue" doc:"Of a listener: handshakes that are not complete."`
	Overflows      uint64    `rec:"overflows" role:"measure" unit:"packets" doc:"Of a listener, since it listens: SYNs and ACKs that it dropped for want of room."`
	CookieTime     time.Time `rec:"cookie_time" doc:"Of a listener: when it last answered SYNs with SYN cookies, within a second; null if it never did."`
	Name           string    `rec:"name" doc:"Name of the remote side, as the socket's owner was told it by DNS before the connection began." otel:"server.address"`
}
