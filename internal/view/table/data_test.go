package table

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
)

var update = flag.Bool("update", false, "rewrite testdata from what the code prints")

// golden compares got with testdata/name.txt. Escapes are spelled out in the
// file, so that a diff can be read and a terminal survives it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	got = strings.ReplaceAll(got, "\x1b", "␛")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run go test -update", err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func at(seconds float64) time.Time {
	return time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

// ends builds endpoints from "tcp 10.0.0.5:51234 10.0.0.9:53".
func ends(flow, netns, ifname string, owner record.Owner) record.Endpoints {
	e := record.Endpoints{Time: at(1), Host: "web1", NetNS: 4026531840, NetNSName: netns, IfName: ifname, Owner: owner}
	if netns != "host" {
		e.NetNS = 4026532000 + uint32(len(netns))
	}
	parts := strings.Fields(flow)
	e.Proto = parts[0]
	if len(parts) > 1 {
		src, dst := parts[1], parts[2]
		if p, err := netip.ParseAddrPort(src); err == nil {
			e.SrcAddr, e.SrcPort = p.Addr(), p.Port()
		} else {
			e.SrcAddr = addr(src)
		}
		if p, err := netip.ParseAddrPort(dst); err == nil {
			e.DstAddr, e.DstPort = p.Addr(), p.Port()
		} else {
			e.DstAddr = addr(dst)
		}
	}
	return e
}

func owner(comm string, pid uint32) record.Owner {
	uid := uint32(1000)
	return record.Owner{Comm: comm, PID: pid, UID: &uid, Cgroup: "/system.slice/" + comm + ".service"}
}

func inContainer(o record.Owner, name string) record.Owner {
	o.Container, o.ContainerName = "4f5e6d7c8b9a", name
	return o
}

func drop(v record.Verdict, reason, location string, packets uint64, e record.Endpoints, dir record.Direction) record.Drop {
	return record.Drop{
		Endpoints: e, Reason: reason, Subsystem: "core", Location: location, Verdict: v, Packets: packets,
		Bytes: packets * 1090, Buffers: packets, Direction: dir,
	}
}

// dropBatches is two seconds of a host at 3 a.m.
func dropBatches() []*record.Batch {
	dns := owner("dnsmasq", 812)
	v6 := ends("tcp [2001:db8:85a3:8d3:1319:8a2e:370:7348]:52112 [2001:db8:85a3:8d3:1319:8a2e:370:7344]:5432", "host", "enp0s31f6", owner("postgres", 90210))
	one := &record.Batch{Start: at(0), End: at(1)}
	one.Drops = []record.Drop{
		drop(record.Benign, "TCP_OFOMERGE", "tcp_data_queue_ofo+0x2bc", 12, ends("tcp 10.0.0.7:443 10.0.0.5:40122", "host", "eth0", owner("curl", 77)), record.In),
		drop(record.Benign, "QUEUE_PURGE", "tcp_close+0x11d", 3, ends("tcp", "host", "", owner("curl", 77)), ""),
		drop(record.Policy, "NETFILTER_DROP", "nft_do_chain+0x3d1", 45, ends("tcp 203.0.113.77:40000 192.0.2.10:22", "host", "eth0", record.Owner{}), record.In),
		drop(record.Policy, "NETFILTER_DROP", "nft_do_chain+0x3d1", 5, ends("tcp 203.0.113.78:40001 192.0.2.10:22", "host", "eth0", record.Owner{}), record.In),
		drop(record.Resource, "SOCKET_RCVBUFF", "udp_queue_rcv_one_skb+0x2f4", 1234, ends("udp 10.0.0.5:51234 10.0.0.9:53", "web", "eth0", inContainer(dns, "resolver")), record.In),
		drop(record.Refused, "NO_SOCKET", "__udp4_lib_rcv+0x8b2", 7, ends("udp 10.0.0.5:51235 10.0.0.9:8125", "web", "eth0", record.Owner{}), record.In),
		drop(record.Loss, "IP_OUTNOROUTES", "ip6_pkt_discard_out+0x1c", 2, v6, record.Out),
	}
	one.Drops[6].Name, one.Drops[2].Name = "db2.example.com", "scan.example.net"
	rule := one.Drops[2]
	rule.Sample, rule.Packets, rule.Length, rule.TCPFlags, rule.Time = true, 1, 60, "S", at(0.25)
	rule.Rule = "ip filter input handle 7"
	buffer := one.Drops[4]
	buffer.Sample, buffer.Packets, buffer.Length, buffer.Time, buffer.SocketState = true, 1, 1042, at(0.5), "bound"
	buffer.Stack = []string{"udp_queue_rcv_one_skb+0x2f4", "udp_unicast_rcv_skb+0x7a", "ip_protocol_deliver_rcu+0x1c9", "ip_local_deliver_finish+0x85"}
	buffer.InnerProto, buffer.InnerSrcAddr, buffer.InnerDstAddr, buffer.InnerDstPort = "tcp", addr("172.16.0.1"), addr("172.16.0.2"), 80
	quiet := one.Drops[0]
	quiet.Sample, quiet.Packets = true, 1
	one.Samples = []record.Drop{rule, buffer, quiet}

	two := &record.Batch{Start: at(1), End: at(2)}
	more := drop(record.Resource, "SOCKET_RCVBUFF", "udp_queue_rcv_one_skb+0x2f4", 23456, ends("udp 10.0.0.5:51234 10.0.0.9:53", "web", "eth0", inContainer(dns, "resolver")), record.In)
	dns2 := dns
	dns2.PID = 813
	other := drop(record.Resource, "SOCKET_RCVBUFF", "udp_queue_rcv_one_skb+0x2f4", 12, ends("udp 10.0.0.6:51234 10.0.0.9:53", "web", "eth0", inContainer(dns2, "resolver")), record.In)
	two.Drops = []record.Drop{more, other,
		drop(record.Invalid, "TCP_CSUM", "tcp_v4_rcv+0x91", 1, ends("tcp 198.51.100.4:443 10.0.0.5:40100", "host", "eth0", record.Owner{}), record.In),
		drop(record.Loss, "NEIGH_FAILED", "neigh_invalidate+0x9d", 1, ends("arp", "host", "br-4f5e6d7c8b9a", record.Owner{}), record.Forward),
	}
	two.Lost = []record.Lost{{Time: at(2), Place: "drop_ring", Reason: "full", Count: 1200, Effect: "single events are missing; the counts are exact"}}
	return []*record.Batch{one, two}
}

func why(d record.Drop) string {
	return map[string]string{
		"SOCKET_RCVBUFF": "the socket's receive buffer is full: the program reads too slowly",
		"NETFILTER_DROP": "a firewall rule on this host dropped it",
		"NO_SOCKET":      "nobody listens on that port",
		"IP_OUTNOROUTES": "no route to the destination",
		"NEIGH_FAILED":   "nobody answered for the next hop's address",
		"TCP_CSUM":       "the checksum is wrong: damaged on its way",
	}[d.Reason]
}

const evil = "\x1b]0;owned\x07\x1b[2J\n\r\u202e\u009b31m日本語\xff"

// hostileBatch is what names can hold.
func hostileBatch() *record.Batch {
	o := record.Owner{PID: 666, Comm: evil, Cgroup: evil, ContainerName: strings.Repeat("長い名前", 300)}
	e := ends("udp 10.0.0.5:1 10.0.0.6:2", evil, "et\th0\x1b[H", o)
	e.Host = "web1\x1b[31m"
	d := drop(record.Loss, "BAD\x1b[41mREASON", "sym\x1b[5mbol+0x1", 1, e, "in\x1b[1m")
	d.Name = evil
	f := record.Flow{Endpoints: e, Direction: record.In, PacketsIn: 1, BytesIn: 60, HostPackets: 1, HostBytes: 60, Name: evil}
	s := d
	s.Sample, s.Stack, s.Rule, s.TCPFlags = true, []string{evil}, evil, "\x1b[2J"
	return &record.Batch{
		Start: at(0), End: at(1), Drops: []record.Drop{d}, Samples: []record.Drop{s}, Flows: []record.Flow{f},
		Lost: []record.Lost{{Place: evil, Reason: evil, Effect: evil, Count: 1}},
	}
}

func flow(e record.Endpoints, dir record.Direction, in, out, host uint64) record.Flow {
	return record.Flow{
		Endpoints: e, Start: at(0), End: at(1), Direction: dir, PacketsIn: in, BytesIn: in * 1400, PacketsOut: out, BytesOut: out * 90,
		BuffersIn: in / 10, BufferBytesIn: in * 1340, BuffersOut: out, BufferBytesOut: out * 76,
		HostPackets: host, HostBytes: host * 1000,
	}
}

// flowBatches is two seconds of a host with a container behind a bridge.
func flowBatches() []*record.Batch {
	web := inContainer(owner("nginx", 4242), "web-1")
	call := "tcp 198.51.100.20:50000 172.17.0.2:443"
	one := &record.Batch{Start: at(0), End: at(1), Flows: []record.Flow{
		// One download through eth0, bridge and veth into a container: the
		// packets in enter at eth0, the packets out are born in the container.
		flow(ends(call, "host", "eth0", record.Owner{}), record.Forward, 100, 9000, 100),
		flow(ends(call, "host", "docker0", record.Owner{}), record.Forward, 9000, 100, 0),
		flow(ends(call, "host", "veth1a2b3c", record.Owner{}), record.Forward, 9000, 100, 0),
		flow(ends(call, "web-1", "eth0", web), record.In, 100, 9000, 9000),
		flow(ends("udp 10.0.0.5:51234 10.0.0.1:53", "host", "eth0", owner("systemd-resolve", 540)), record.Out, 4, 4, 8),
		flow(ends("tcp 127.0.0.1:40000 127.0.0.1:6379", "host", "lo", owner("redis-server", 99)), record.In, 500, 500, 500),
		flow(ends("tcp 127.0.0.1:40000 127.0.0.1:6379", "web-1", "lo", inContainer(owner("redis-server", 4300), "web-1")), record.In, 50, 50, 50),
		flow(ends("arp", "host", "eth0", record.Owner{}), "", 2, 1, 3),
	}}
	one.Flows[3].Name, one.Flows[3].RTTMicros = "client.example.net", 1200
	one.Flows[0].Drops, one.Flows[3].Retransmits = 3, 2
	other := flow(record.Endpoints{Host: "web1"}, "", 40, 2, 42)
	other.Other = true
	two := &record.Batch{Start: at(1), End: at(2), Flows: []record.Flow{
		flow(ends("udp 10.0.0.1:53 10.0.0.5:51234", "host", "eth0", record.Owner{}), record.In, 4, 0, 4),
		flow(ends("tcp [2001:db8::5]:40000 [2001:db8::9]:443", "host", "eth0", owner("curl", 8001)), record.Out, 0, 3, 3),
		flow(ends(call, "web-1", "eth0", web), record.In, 10, 200, 200),
		flow(ends(call, "host", "eth0", record.Owner{}), record.Forward, 10, 200, 10),
		other,
	}}
	return []*record.Batch{one, two}
}
