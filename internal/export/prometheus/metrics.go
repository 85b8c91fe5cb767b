package prometheus

import (
	"strings"
	"unicode"

	"github.com/netfate/netfate/internal/record"
)

// Other is the value of labels in the series that has what found no room.
const Other = "~other"

// Types of metrics.
const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

// Metric is one metric as it is declared.
type Metric struct {
	Name   string
	Type   string // counter, gauge, histogram
	Unit   string // packets, bytes, seconds …; empty if it has none
	Help   string // one sentence
	Labels []string
}

// label is what a family is counted under, and what the record calls it.
type label struct {
	name string
	// few says that it has few values, which are ours: it is kept in the series of
	// what found no room. Those come first.
	few bool
}

// Labels that several families have, each called as the field that it is made of.
func ofOwner() []label {
	return []label{{name: "comm"}, {name: "container_name"}, {name: "pod_namespace"}, {name: "pod"}}
}

// declaration is the metrics of one kind of rows: they have the same series.
type declaration struct {
	name    string // of the family, in lost
	labels  []label
	metrics []Metric // their Labels are those above
}

// Families of counters.
const (
	dropFamily = iota
	flowFamily
	ownerFamily
	connFamily
	requestFamily
	requestCountFamily
	queryFamily
	ledgerFamily
	ledgerLossFamily
	families
)

// declared returns the families of counters.
func declared() [families]declaration {
	few := func(names ...string) (all []label) {
		for _, n := range names {
			all = append(all, label{name: n, few: true})
		}
		return all
	}
	many := func(names ...string) (all []label) {
		for _, n := range names {
			all = append(all, label{name: n})
		}
		return all
	}
	join := func(lists ...[]label) (all []label) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	number := func(name, unit, help string) Metric { return Metric{Name: name, Type: counter, Unit: unit, Help: help} }
	return [families]declaration{
		dropFamily: {"drops", join(few("verdict", "direction"), many("reason", "location", "netns_name", "ifname")), []Metric{
			number("netfate_drops_packets_total", "packets", "Wire packets that the kernel freed undelivered."),
			number("netfate_drops_bytes_total", "bytes", "Wire bytes of those packets, with their headers from Ethernet on."),
		}},
		flowFamily: {"interfaces", join(few("direction"), many("proto", "netns_name", "ifname")), []Metric{
			number("netfate_interface_packets_total", "packets", "Wire packets on an interface; one that crosses several counts on each."),
			number("netfate_interface_bytes_total", "bytes", "Wire bytes of those packets, with their headers from Ethernet on."),
		}},
		ownerFamily: {"owners", ofOwner(), []Metric{
			number("netfate_host_packets_total", "packets", "Wire packets of the host, each once however many interfaces it crosses, by whose sockets they are."),
			number("netfate_host_bytes_total", "bytes", "Wire bytes of those packets, with their headers from Ethernet on."),
			number("netfate_host_lost_packets_total", "packets", "Wire packets that were lost, benign ones left out, by whose sockets they were."),
			number("netfate_host_retransmitted_packets_total", "packets", "TCP segments that sockets of this host sent again."),
		}},
		connFamily: {"connections", join(few("event", "role", "closed_by", "error"), ofOwner()), []Metric{
			number("netfate_connections_total", "", "TCP connections that opened, failed or closed."),
			number("netfate_connections_received_bytes_total", "bytes", "Payload that connections had received when they closed."),
			number("netfate_connections_sent_bytes_total", "bytes", "Payload that peers had acknowledged when connections closed."),
		}},
		requestFamily: {"requests", join(few("protocol", "role"), many("method", "status", "error"), ofOwner()), []Metric{
			number("netfate_requests_total", "", "HTTP requests, and connections of TLS and QUIC whose requests cannot be read; those that were sampled away included."),
			number("netfate_requests_bytes_total", "bytes", "Bodies of the requests as transferred; of TLS and QUIC all that clients said."),
			number("netfate_responses_bytes_total", "bytes", "Bodies of the responses as transferred; of TLS and QUIC all that servers said."),
		}},
		requestCountFamily: {"counted requests", many("method", "host_name"), []Metric{
			number("netfate_counted_requests_total", "", "HTTP/1 requests that the kernel counted, where requests are only counted."),
		}},
		queryFamily: {"queries", join(few("protocol", "role"), many("rcode", "error", "server"), ofOwner()), []Metric{
			number("netfate_queries_total", "", "DNS queries, each once however often it was asked again."),
			number("netfate_queries_retries_total", "", "Times that questions were asked again."),
		}},
		ledgerFamily: {"ledger", few("direction", "line"), []Metric{
			number("netfate_ledger_buffers_total", "buffers", "Socket buffers of the host's ledger: what came, in all namespaces, and where it ended; netfate_ledger_balance_buffers closes the balance."),
		}},
		ledgerLossFamily: {"losses of the ledger", join(few("direction", "layer", "verdict"), many("reason")), []Metric{
			number("netfate_ledger_lost_buffers_total", "buffers", "Socket buffers that the host's ledger says were lost, and packets that no buffer was made for."),
		}},
	}
}

// Histograms.
const (
	connectTimes = iota
	roundTrips
	requestTimes
	queryTimes
	histograms
)

// declaredHistograms returns the histograms.
func declaredHistograms() [histograms]declaration {
	one := func(name, metric, help string, labels ...label) declaration {
		return declaration{name, labels, []Metric{{Name: metric, Type: histogram, Unit: "seconds", Help: help}}}
	}
	role, protocol, comm := label{name: "role", few: true}, label{name: "protocol", few: true}, label{name: "comm"}
	return [histograms]declaration{
		connectTimes: one("connect times", "netfate_connections_connect_seconds", "From the SYN to established, of connections that opened.", role, comm),
		roundTrips:   one("round-trip times", "netfate_connections_rtt_seconds", "Smoothed round-trip time of connections when they closed.", role, comm),
		requestTimes: one("latencies of requests", "netfate_requests_latency_seconds", "From the first byte of a request to the first byte of its response; of TLS and QUIC, of the handshake.", protocol, role, comm),
		queryTimes:   one("latencies of queries", "netfate_queries_latency_seconds", "From the first time that a DNS question was asked to its answer.", protocol, role, label{name: "server"}),
	}
}

// health returns what netfate tells of itself.
func health() []Metric {
	return []Metric{
		{"netfate_build_info", gauge, "", "Always 1; its labels say what runs where.", []string{"version", "goversion", "kernel"}},
		{"netfate_ledger_balance_buffers", gauge, "buffers", "What closes the balance of the host's ledger since the start: merged, waiting, and the remainder that nothing explains. All may fall.", []string{"direction", "line"}},
		{"netfate_lost_total", counter, "", "What netfate itself could not keep since the start, by place and reason: the number that spoils the others.", []string{"place", "reason"}},
		{"netfate_last_batch_timestamp_seconds", gauge, "seconds", "End of the interval that was added last, in Unix time.", nil},
		{"netfate_metric_series", gauge, "", "Series of a family of metrics; as many as it may have means that some are counted as ~other.", []string{"family"}},
		{"netfate_sensor_programs", gauge, "", "BPF programs that a sensor has loaded.", []string{"sensor"}},
		{"netfate_sensor_memory_bytes", gauge, "bytes", "What a sensor's maps and programs occupy in the kernel.", []string{"sensor"}},
		{"netfate_sensor_runs_total", counter, "", "Times that a sensor's programs ran; only with sensors.measure.", []string{"sensor"}},
		{"netfate_sensor_run_seconds_total", counter, "seconds", "Time that a sensor's programs took; only with sensors.measure.", []string{"sensor"}},
		{"netfate_export_waiting_rows", gauge, "", "Rows that wait to be sent.", []string{"exporter"}},
		{"netfate_export_sent_rows_total", counter, "", "Rows that were sent.", []string{"exporter"}},
		{"netfate_export_lost_rows_total", counter, "", "Rows that were not sent, or not in full.", []string{"exporter", "reason"}},
	}
}

// Metrics lists all metrics in the order of the reference, without those of the Go
// runtime and the process (go_ and process_).
func Metrics() (all []Metric) {
	for _, d := range append(familiesOf(), histogramsOf()...) {
		for _, m := range d.metrics {
			m.Labels = names(d.labels)
			all = append(all, m)
		}
	}
	return append(all, health()...)
}

func familiesOf() []declaration   { d := declared(); return d[:] }
func histogramsOf() []declaration { d := declaredHistograms(); return d[:] }

func names(labels []label) (all []string) {
	for _, l := range labels {
		all = append(all, l.name)
	}
	return all
}

// maxValue is how long the value of a label may be, in bytes.
const maxValue = 128

// clean makes a value of a label of what processes, packets and servers say; whoever reads
// metrics on a terminal is not steered by it.
func clean(text string) string {
	if len(text) > maxValue {
		text = text[:maxValue]
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// place is the function of a location, since an offset is another one in each build
// of the kernel.
func place(location string) string {
	function, _, _ := strings.Cut(location, "+")
	return function
}

// namespace is the name of a namespace without the number of its process: each
// process would be a series of its own.
func namespace(name string) string {
	if rest, ok := strings.CutPrefix(name, "pid "); ok {
		if number, comm, ok := strings.Cut(rest, " "); ok && strings.Trim(number, "0123456789") == "" {
			return comm
		}
	}
	return name
}

// method is a method of HTTP that the semantic conventions of OpenTelemetry know;
// others are whatever a stranger sends.
func method(name string) string {
	switch name {
	case "", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY":
		return name
	}
	return Other
}

// weight is how many requests a row stands for.
func weight(r *record.Request) uint64 { return uint64(max(r.OneIn, 1)) }
