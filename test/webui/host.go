package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/language"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/verdict"
)

// loss is one of those that the made-up host has, in packets a second.
type loss struct {
	direction record.Direction
	layer     record.Layer
	reason    string
	verdict   record.Verdict
	rate      float64
	counter   string
	seen      bool
	location  string
	why, fact string
}

func losses() []loss {
	return []loss{
		{record.In, record.RingLayer, "rx_missed_errors", record.Resource, 1.2, "rx_missed_errors", false, "", "the NIC's ring was full", "ring of eth0: 256 of 4096 descriptors"},
		{record.In, record.NetfilterLayer, "NETFILTER_DROP", record.Policy, 4.7, "", true, "nft_do_chain", "a firewall rule of this host dropped it", "rule: inet filter input tcp dport 23 drop"},
		{record.In, record.TransportLayer, "NO_SOCKET", record.Refused, 0.35, "UdpNoPorts", true, "__udp4_lib_rcv", "nobody listens on that port", ""},
		{record.In, record.SocketLayer, "SOCKET_RCVBUFF", record.Resource, 16.8, "UdpRcvbufErrors", true, "__udp_enqueue_schedule_skb", "the program reads too slowly: its socket's buffer is full", "net.core.rmem_max is 212992; the socket has 212992"},
		{record.Out, record.QdiscLayer, "QDISC_DROP", record.Resource, 2.1, "", true, "fq_codel_enqueue", "the queue to the device was full", "fq_codel of eth0: 10240 packets"},
		{record.Out, record.RoutingLayer, "IP_OUTNOROUTES", record.Loss, 0.02, "IpOutNoRoutes", true, "ip_route_output_key_hash_rcu", "this host has no route to send it by", ""},
	}
}

// fate makes the books of the host: what came, what left it layer by layer, and
// where the rest went.
func (f *fake) fate(r *http.Request, s span) (any, error) {
	type link struct {
		From    string         `json:"from"`
		To      string         `json:"to"`
		Packets int64          `json:"packets"`
		Bytes   int64          `json:"bytes"`
		Kind    string         `json:"kind"`
		Verdict record.Verdict `json:"verdict"`
		Reason  string         `json:"reason"`
	}
	links := []link{}
	var entries []json.RawMessage
	fields := record.Fields(record.Entry{})
	add := func(e record.Entry) {
		e.Time, e.Start, e.Host, e.Scope, e.Station, e.Unit = time.Unix(s.until, 0).UTC(), time.Unix(s.since, 0).UTC(), "shop-7", record.HostScope, "total", "packets"
		entries = append(entries, record.AppendJSON(nil, fields, &e, false))
	}
	var all, rest int64
	for _, side := range []struct {
		direction record.Direction
		came      float64
		layers    []record.Layer
		ends      map[string]float64
		order     []string
	}{
		{record.In, 2900, []record.Layer{record.RingLayer, record.IngressLayer, record.NetfilterLayer, record.RoutingLayer, record.TransportLayer, record.SocketLayer},
			map[string]float64{"taken/arp": 3, "forwarded/forwarded": 620, "delivered/tcp": 0, "delivered/udp": 240}, []string{"taken/arp", "forwarded/forwarded", "delivered/udp", "delivered/tcp"}},
		{record.Out, 2410, []record.Layer{record.RoutingLayer, record.QdiscLayer, record.DriverLayer}, map[string]float64{"delivered/sent": 0}, []string{"delivered/sent"}},
	} {
		part := 1.0
		if r.URL.Query().Get("scope") != "" {
			part = 0.25
		}
		n := func(rate float64) int64 {
			return int64(math.Round(part * rate * s.seconds() * (0.8 + 0.4*noise(s.since))))
		}
		left := n(side.came)
		all += left
		add(record.Entry{Direction: side.direction, Layer: record.TotalLayer, Line: record.Came, Packets: left})
		at := ""
		for _, layer := range side.layers {
			next := fmt.Sprintf("%s/%s", side.direction, layer)
			if at != "" {
				links = append(links, link{From: at, To: next, Packets: left, Bytes: left * 800, Kind: "pass"})
			}
			at = next
			for _, l := range losses() {
				// Once the buffers' size was another matter.
				if l.direction != side.direction || l.layer != layer || (l.reason == "SOCKET_RCVBUFF" && s.until < f.now.Add(-10*time.Minute).Unix()) {
					continue
				}
				packets := max(n(l.rate), 1)
				left -= packets
				links = append(links, link{at, l.reason, packets, packets * 500, "loss", l.verdict, l.reason})
				e := record.Entry{
					Direction: side.direction, Layer: layer, Line: record.LostLine, What: l.reason, Location: l.location, Packets: packets,
					Counter: l.counter, Verdict: l.verdict, Why: l.why, Fact: l.fact,
				}
				if count := uint64(packets); l.counter != "" {
					e.Counted = &count
				}
				if seen := uint64(packets); l.seen {
					if l.reason == "NO_SOCKET" {
						seen--
					}
					e.Seen = &seen
				}
				if l.layer == record.SocketLayer {
					e.PID, e.Comm, e.ContainerName = 4711, "statsd", "metrics"
					e.Command = "sysctl net.core.rmem_max"
				}
				add(e)
			}
			for _, end := range side.order {
				leaves := map[string]record.Layer{"taken/arp": record.IngressLayer, "forwarded/forwarded": record.RoutingLayer, "delivered/udp": record.SocketLayer}[end]
				if leaves != layer {
					continue
				}
				packets := n(side.ends[end])
				left -= packets
				line, what, _ := strings.Cut(end, "/")
				links = append(links, link{From: at, To: line, Packets: packets, Bytes: packets * 800, Kind: "pass"})
				add(record.Entry{Direction: side.direction, Layer: layer, Line: record.Line(line), What: what, Packets: packets})
			}
		}
		off := int64(2)
		if side.direction == record.Out {
			off = 0
		}
		rest += off
		links = append(links, link{From: at, To: "delivered", Packets: left - off, Bytes: left * 800, Kind: "pass"})
		if off > 0 {
			links = append(links, link{From: at, To: "unexplained", Packets: -off, Kind: "remainder"})
		}
		add(record.Entry{Direction: side.direction, Layer: record.TotalLayer, Line: record.Remainder, Packets: off})
	}
	return map[string]any{"entries": entries, "links": links, "packets": all, "remainder_packets": rest, "unit": "packets"}, nil
}

// books are those that the made-up host's ledger has, with what came.
func books() [][]any {
	return [][]any{
		{"host", nil, nil, nil, 4_800_000}, {"netns", 4026531840, nil, nil, 3_100_000}, {"interface", 4026531840, nil, "eth0", 2_900_000},
		{"netns", 4026532201, "web", nil, 900_000}, {"interface", 4026532201, "web", "eth0", 880_000}, {"interface", 4026531840, nil, "veth1a2b", 870_000},
	}
}

func (f *fake) graph(r *http.Request, s span) (any, error) {
	nodes, edges := []map[string]any{}, []map[string]any{}
	if quiet(r) {
		return map[string]any{"nodes": nodes, "edges": edges}, nil
	}
	add := func(kind, label string, rate float64) {
		nodes = append(nodes, map[string]any{"id": kind + ":" + label, "label": label, "kind": kind, "bytes": rate * s.seconds()})
	}
	add("process", "nginx", 3e6)
	add("process", "statsd", 4e4)
	add("container", "shop-db", 2e6)
	add("process", "etcd", 2e5)
	add("peer", "api.example.com", 1.6e6)
	add("peer", "10.0.4.17", 1.2e6)
	add("peer", "registry.example.net", 7e5)
	add("peer", "2001:db8::53", 2e4)
	for i, e := range []struct {
		from, to string
		errors   int
	}{
		{"process:nginx", "peer:api.example.com", 0}, {"process:nginx", "container:shop-db", 0}, {"process:nginx", "peer:10.0.4.17", 14},
		{"container:shop-db", "peer:10.0.4.17", 0}, {"process:etcd", "peer:registry.example.net", 0}, {"process:statsd", "peer:2001:db8::53", 3},
	} {
		bytes := math.Round(2e6 / float64(i*i+1) * s.seconds())
		edges = append(edges, map[string]any{
			"from": e.from, "to": e.to, "bytes": bytes, "packets": math.Round(bytes / 700), "connections": 90 / (i + 1),
			"rtt_us_p50": 300 * (i + 1), "rtt_us_p95": 1400 * (i + 1), "errors": e.errors,
		})
	}
	return map[string]any{"nodes": nodes, "edges": edges}, nil
}

// explain answers from the book that netfate itself answers from.
func (f *fake) explain(r *http.Request, _ span) (any, error) {
	l := language.English
	if r.URL.Query().Get("language") == language.Chinese.String() {
		l = language.Chinese
	}
	book, err := verdict.In(l)
	if err != nil {
		return nil, err
	}
	entry, err := book.Explain(r.PathValue("reason"))
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"reason": entry.Reason, "verdict": entry.Verdict, "meaning": entry.Meaning, "causes": entry.Causes, "confirm": entry.Confirm, "fix": entry.Fix,
		"evidence": []map[string]any{
			{"key": "sysctl", "name": "net.core.rmem_max", "value": "212992", "note": "the default: 208 KiB"},
			{"key": "counter", "name": "UdpRcvbufErrors", "value": "15120"},
		},
	}, nil
}

func (f *fake) status(*http.Request, span) (any, error) {
	at := func(back time.Duration) string { return f.now.Add(-back).Format(time.RFC3339) }
	type row = map[string]any
	return row{
		"host": "shop-7", "version": "1.4.0", "started": at(51 * time.Hour), "time": f.now.Format(time.RFC3339),
		"store": row{
			"engine": "duckdb 1.4.3", "path": "/var/lib/netfate/history.duckdb", "bytes": 731906048, "oldest": at(30 * 24 * time.Hour), "degraded": "",
			"kinds": []row{
				{"kind": "flows", "resolution_s": 0, "rows": 5184000, "oldest": at(48 * time.Hour), "newest": at(0)},
				{"kind": "flows", "resolution_s": 3600, "rows": 812000, "oldest": at(30 * 24 * time.Hour), "newest": at(48 * time.Hour)},
				{"kind": "drops", "resolution_s": 0, "rows": 90211, "oldest": at(30 * 24 * time.Hour), "newest": at(0)},
			},
			"dropped": map[string]int{"age": 120000},
		},
		"sensors": []row{
			{"name": "drop", "programs": 2, "events": 912345, "ns_per_event": 412, "cpu_percent": 0.02, "memory_bytes": 5 << 20, "lacks": []string{}},
			{"name": "flow", "programs": 4, "events": 1203944210, "ns_per_event": 96, "cpu_percent": 0.61, "memory_bytes": 38 << 20, "lacks": []string{}},
			{"name": "conn", "programs": 3, "events": 4120034, "ns_per_event": 350, "cpu_percent": 0.05, "memory_bytes": 12 << 20, "lacks": []string{}},
			{"name": "http", "programs": 6, "events": 88201344, "ns_per_event": 610, "cpu_percent": 0.44, "memory_bytes": 44 << 20, "lacks": []string{"requests over AF_ALG sockets"}},
		},
		"process": row{"cpu_percent": 2.4, "rss_bytes": 214 << 20, "goroutines": 41},
		"lost": []row{
			{"time": at(0), "place": "drop_ring", "reason": "full", "count": 312, "effect": "single drops of that time are missing; counts are whole"},
			{"time": at(0), "place": "sink history", "reason": "slow", "count": 0, "effect": "rows of that time have no addresses"},
		},
		"kernel": row{"release": "6.1.0-31-amd64", "features": []row{
			{"name": "BTF", "ok": true}, {"name": "tp_btf", "ok": true}, {"name": "socket storage", "ok": true},
			{"name": "rx_sk", "ok": false, "costs": "drops on established connections have their namespace by route only"},
		}},
	}, nil
}
