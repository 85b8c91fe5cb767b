package verdict

import (
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
)

func newBook(t testing.TB) *Book {
	t.Helper()
	b, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestJudge(t *testing.T) {
	b := newBook(t)
	check := func(c Case, want record.Verdict, rule string) {
		t.Helper()
		got := b.Judge(c)
		if got.Verdict != want || got.Rule != rule || got.Why == "" {
			t.Errorf("%+v: got %s by %q (%s), want %s by %q", c, got.Verdict, got.Rule, got.Why, want, rule)
		}
	}
	const (
		loss, resource, refused = record.Loss, record.Resource, record.Refused
		policy, invalid, benign = record.Policy, record.Invalid, record.Benign
	)
	// What must never look like a loss.
	check(Case{Reason: "NO_SOCKET", Place: "ping_rcv", Proto: "icmp"}, benign, "NO_SOCKET/ping_rcv")
	check(Case{Reason: "NO_SOCKET", Place: "ping_rcv", Proto: "icmpv6"}, benign, "NO_SOCKET/ping_rcv")
	check(Case{Reason: "SOCKET_CLOSE", Place: "unix_release_sock"}, benign, "SOCKET_CLOSE")
	check(Case{Reason: "QUEUE_PURGE", Place: "sk_stream_kill_queues"}, benign, "QUEUE_PURGE")
	check(Case{Reason: "QUEUE_PURGE", Place: "inet_sock_destruct"}, benign, "QUEUE_PURGE")
	check(Case{Reason: "NOT_SPECIFIED", Place: "udp_destruct_common", Proto: "udp"}, benign, "NOT_SPECIFIED/udp_destruct_common")
	check(Case{Reason: "NOT_SPECIFIED", Place: "__rtnl_unlock", Proto: "icmp"}, benign, "NOT_SPECIFIED/__rtnl_unlock")
	check(Case{Reason: "NOT_SPECIFIED", Place: "netlink_release"}, benign, "NOT_SPECIFIED/netlink_*")
	check(Case{Reason: "NOT_SPECIFIED", Place: "netlink_broadcast_filtered"}, benign, "NOT_SPECIFIED/netlink_*")
	check(Case{Reason: "NOT_SPECIFIED", Place: "unix_stream_read_generic"}, benign, "NOT_SPECIFIED/unix_*")
	check(Case{Reason: "NOT_SPECIFIED", Place: "netif_napi_add_weight_locked"}, benign, "NOT_SPECIFIED/netif_napi_add_weight_locked")
	check(Case{Reason: "NOT_SPECIFIED", Place: "skb_release_data"}, benign, "NOT_SPECIFIED/skb_release_data")
	check(Case{Reason: "NOT_SPECIFIED", Place: "ip6_mc_input", Proto: "icmpv6"}, benign, "NOT_SPECIFIED/ip6_mc_input")
	check(Case{Reason: "NOT_SPECIFIED", Place: "ip6_pkt_discard", Proto: "icmpv6"}, benign, "NOT_SPECIFIED/ip6_pkt_discard")
	check(Case{Reason: "IP_INNOROUTES", Place: "ip6_pkt_discard", Proto: "icmpv6", Multicast: true}, benign, "IP_INNOROUTES/ip6_pkt_discard")
	check(Case{Reason: "NOT_SPECIFIED", Place: "tbf_reset"}, benign, "NOT_SPECIFIED/*_reset")
	check(Case{Reason: "NOT_SPECIFIED", Place: "inet_csk_destroy_sock"}, benign, "NOT_SPECIFIED/inet_csk_destroy_sock")
	check(Case{Reason: "NOT_SPECIFIED", Place: "tcp_v4_rcv", Proto: "tcp", SocketState: "time_wait"}, benign, "NOT_SPECIFIED/tcp_v4_rcv")
	check(Case{Reason: "TCP_OFOMERGE", Place: "tcp_data_queue_ofo", Proto: "tcp"}, benign, "TCP_OFOMERGE")
	check(Case{Reason: "TCP_OLD_DATA", Place: "tcp_data_queue", Proto: "tcp"}, benign, "TCP_OLD_DATA")
	check(Case{Reason: "TCP_OLD_SEQUENCE", Place: "tcp_validate_incoming", Proto: "tcp"}, benign, "TCP_OLD_SEQUENCE")
	check(Case{Reason: "TCP_RESET", SocketState: "listen"}, benign, "TCP_RESET")
	check(Case{Reason: "OTHERHOST", Place: "ip_rcv_core"}, benign, "OTHERHOST")
	check(Case{Reason: "UNHANDLED_PROTO", Place: "__netif_receive_skb_core", Proto: "lldp"}, benign, "UNHANDLED_PROTO")
	check(Case{Reason: "NO_TX_TARGET", Place: "br_flood", Proto: "icmpv6", Multicast: true}, benign, "NO_TX_TARGET/br_flood")
	check(Case{Reason: "IPV6DISABLED", Place: "ip6_output", Proto: "icmpv6", Direction: record.Out, Multicast: true}, benign, "IPV6DISABLED")
	check(Case{Reason: "QDISC_DROP", Place: "__dev_queue_xmit", Proto: "icmpv6", Multicast: true}, benign, "QDISC_DROP")
	check(Case{Reason: "NOT_SPECIFIED", Place: "__dev_queue_xmit", Proto: "icmpv6", Multicast: true}, benign, "NOT_SPECIFIED/__dev_queue_xmit")
	check(Case{Place: "__dev_queue_xmit", Proto: "icmpv6", Multicast: true}, benign, "NO_REASON/__dev_queue_xmit")
	check(Case{Reason: "DEV_READY", Place: "enqueue_to_backlog"}, benign, "DEV_READY/enqueue_to_backlog")
	check(Case{Reason: "CONSUMED"}, benign, "CONSUMED")

	// What is a loss though the kernel does not say so.
	check(Case{Reason: "NOT_SPECIFIED", Place: "do_xdp_generic"}, policy, "NOT_SPECIFIED/do_xdp_generic")
	check(Case{Reason: "NOT_SPECIFIED", Place: "veth_xdp_rcv_skb"}, policy, "NOT_SPECIFIED/veth_xdp_rcv_skb")
	check(Case{Reason: "NOT_SPECIFIED", Place: "nf_hook_slow"}, policy, "NOT_SPECIFIED/nf_hook_slow")
	check(Case{Reason: "NOT_SPECIFIED", Place: "nft_do_chain"}, policy, "NOT_SPECIFIED/nft_do_chain")
	check(Case{Reason: "NOT_SPECIFIED", Place: "ip6_mc_input", Proto: "udp", Multicast: true}, refused, "NOT_SPECIFIED/ip6_mc_input")
	check(Case{Reason: "NOT_SPECIFIED", Place: "ip_rcv_finish_core", Proto: "udp", Multicast: true}, refused, "NOT_SPECIFIED/ip_rcv_finish_core")
	check(Case{Reason: "NOT_SPECIFIED", Place: "ip_rcv_finish_core", Proto: "udp"}, invalid, "NOT_SPECIFIED/ip_rcv_finish_core")
	check(Case{Reason: "NOT_SPECIFIED", Place: "ip6_pkt_discard", Proto: "tcp"}, loss, "NOT_SPECIFIED/ip6_pkt_discard")
	check(Case{Reason: "NOT_SPECIFIED", Place: "some_driver_xmit"}, loss, "NOT_SPECIFIED")
	check(Case{Reason: "NOT_SPECIFIED"}, loss, "NOT_SPECIFIED")

	// The ordinary ones.
	check(Case{Reason: "NO_SOCKET", Place: "tcp_v4_rcv", Proto: "tcp"}, refused, "NO_SOCKET")
	check(Case{Reason: "NO_SOCKET", Place: "__udp4_lib_rcv", Proto: "udp", Direction: record.In}, refused, "NO_SOCKET")
	check(Case{Reason: "NETFILTER_DROP", Place: "nft_do_chain"}, policy, "NETFILTER_DROP")
	check(Case{Reason: "SOCKET_RCVBUFF", Proto: "udp"}, resource, "SOCKET_RCVBUFF")
	check(Case{Reason: "IP_RPFILTER"}, policy, "IP_RPFILTER")
	check(Case{Reason: "IP_INHDR", Place: "ip_forward"}, invalid, "IP_INHDR/ip_forward")
	check(Case{Reason: "IP_INNOROUTES", Place: "ip_error", Proto: "udp"}, loss, "IP_INNOROUTES")
	check(Case{Reason: "IP_INNOROUTES", Place: "ip6_pkt_discard", Proto: "icmpv6"}, loss, "IP_INNOROUTES")
	check(Case{Reason: "IPV6DISABLED", Place: "ip6_rcv_core", Proto: "udp", Direction: record.In}, policy, "IPV6DISABLED")
	check(Case{Reason: "TCP_FLAGS", Proto: "tcp", SocketState: "listen"}, refused, "TCP_FLAGS")
	check(Case{Reason: "TCP_FLAGS", Proto: "tcp", SocketState: "established"}, invalid, "TCP_FLAGS")
	check(Case{Reason: "IP_INVALID_DEST", Proto: "udp", Multicast: true}, refused, "IP_INVALID_DEST")
	check(Case{Reason: "NEIGH_FAILED"}, loss, "NEIGH_FAILED")
	check(Case{Reason: "PKT_TOO_BIG"}, loss, "PKT_TOO_BIG")
	check(Case{Reason: "QDISC_DROP", Place: "__dev_queue_xmit"}, resource, "QDISC_DROP")
	check(Case{Reason: "TCP_LISTEN_OVERFLOW", SocketState: "listen"}, resource, "TCP_LISTEN_OVERFLOW")
	check(Case{Reason: "UNHANDLED_PROTO", Proto: "0x88b5"}, refused, "UNHANDLED_PROTO")
	check(Case{Reason: "INVALID_PROTO", Place: "icmp_rcv", Proto: "icmp"}, policy, "INVALID_PROTO/icmp_rcv")
	check(Case{Reason: "VXLAN_NO_REMOTE"}, loss, "NO_TX_TARGET")
	check(Case{Reason: "FRAG_REASM_TIMEOUT"}, loss, "FRAG_REASM_TIMEOUT")
	check(Case{Subsystem: "core", Reason: "XDP"}, policy, "XDP")

	// The compiler's suffixes do not hide a place.
	check(Case{Reason: "NOT_SPECIFIED", Place: "do_xdp_generic.part.0"}, policy, "NOT_SPECIFIED/do_xdp_generic")

	// Subsystems: known and unknown names, with and without their prefix.
	check(Case{Subsystem: "openvswitch", Reason: "OVS_DROP_METER"}, policy, "OVS_DROP_METER")
	check(Case{Subsystem: "openvswitch", Reason: "METER"}, policy, "OVS_DROP_METER")
	check(Case{Subsystem: "openvswitch", Reason: "131099"}, policy, "OPENVSWITCH")
	check(Case{Subsystem: "mac80211_unusable", Reason: "RX_DROP_U_DUP"}, benign, "RX_DROP_U_DUP")
	check(Case{Subsystem: "mac80211_unusable", Reason: "RX_DROP_U_NEW"}, invalid, "MAC80211_UNUSABLE")
	check(Case{Subsystem: "mac80211_monitor", Reason: "RX_DROP_M_BAD_BCN_KEYIDX"}, invalid, "RX_DROP_M_BAD_BCN_KEYIDX")
	check(Case{Subsystem: "qdisc", Reason: "QDISC_DROP_OVERLIMIT"}, resource, "QDISC_DROP_OVERLIMIT")
	check(Case{Subsystem: "qdisc", Reason: "HORIZON_LIMIT"}, invalid, "QDISC_DROP_HORIZON_LIMIT")

	// Kernels without reasons: the place decides.
	check(Case{Place: "tcp_v4_rcv", Proto: "tcp"}, refused, "NO_REASON/tcp_v4_rcv")
	check(Case{Place: "tcp_v4_rcv", Proto: "tcp", SocketState: "time_wait"}, benign, "NO_REASON/tcp_v4_rcv")
	check(Case{Place: "nf_hook_slow"}, policy, "NOT_SPECIFIED/nf_hook_slow")
	check(Case{Place: "__dev_queue_xmit"}, resource, "NO_REASON/__dev_queue_xmit")
	check(Case{Place: "kfree_skb_list", Proto: "udp", Direction: record.Out}, resource, "NO_REASON/kfree_skb_list")
	check(Case{Place: "kfree_skb_list", Proto: "udp", Direction: record.In}, benign, "NO_REASON/kfree_skb_list")
	check(Case{Place: "ping_rcv"}, benign, "NOT_SPECIFIED/ping_rcv")
	check(Case{Place: "skb_release_data"}, benign, "NOT_SPECIFIED/skb_release_data")
	check(Case{Place: "udp_queue_rcv_one_skb"}, resource, "NOT_SPECIFIED/udp_queue_rcv_one_skb")
	check(Case{Place: "mystery"}, loss, "NO_REASON")
	check(Case{}, loss, "NO_REASON")

	// Whatever it is, there is an answer.
	check(Case{Reason: "FROM_THE_FUTURE"}, loss, "unknown")
	check(Case{Reason: "197"}, loss, "unknown")
	check(Case{Subsystem: "new_subsystem", Reason: "X"}, loss, "unknown")
	if got := b.Judge(Case{Reason: "FROM_THE_FUTURE"}).Why; !strings.Contains(got, "unknown") {
		t.Errorf("got %q, want a Why that says unknown", got)
	}
}

func TestJudgeDoesNotAllocate(t *testing.T) {
	b := newBook(t)
	cases := []Case{
		{Reason: "NO_SOCKET", Place: "tcp_v4_rcv", Proto: "tcp"},
		{Reason: "NOT_SPECIFIED", Place: "some_driver_xmit"},
		{Place: "tcp_v4_rcv", Proto: "tcp"},
	}
	for _, c := range cases {
		if n := testing.AllocsPerRun(100, func() { b.Judge(c) }); n != 0 {
			t.Errorf("%+v: got %v allocations, want 0", c, n)
		}
	}
}

// kernelReasons lists the names of the running kernel's core reasons and of
// the subsystems that it is built with; nil without BTF.
func kernelReasons(t *testing.T) (core, qdisc []string) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		need.Feature{What: "types (BTF)", Options: []string{"CONFIG_DEBUG_INFO_BTF"}}.Skip(t, err)
	}
	var e *btf.Enum
	if err := spec.TypeByName("skb_drop_reason", &e); err != nil {
		need.Of(t, "drop_reasons").Skip(t, err)
	}
	for _, v := range e.Values {
		name := strings.TrimPrefix(v.Name, "SKB_DROP_REASON_")
		if name != "MAX" && name != "SUBSYS_MASK" {
			core = append(core, name)
		}
	}
	var q *btf.Enum
	if spec.TypeByName("qdisc_drop_reason", &q) == nil { // 7.0 and later
		for _, v := range q.Values {
			if v.Name != "QDISC_DROP_MAX" && v.Name != "__QDISC_DROP_REASON" {
				qdisc = append(qdisc, v.Name)
			}
		}
	}
	return core, qdisc
}

func TestEveryReasonOfTheRunningKernelHasAnEntry(t *testing.T) {
	core, qdisc := kernelReasons(t)
	b := newBook(t)
	for _, name := range core {
		if _, err := b.Explain(name); err != nil {
			t.Error(err)
		}
		if j := b.Judge(Case{Reason: name}); j.Rule == "unknown" {
			t.Errorf("%s: no rule", name)
		}
	}
	for _, name := range qdisc {
		if _, err := b.Explain(name); err != nil {
			t.Error(err)
		}
		if j := b.Judge(Case{Subsystem: "qdisc", Reason: name}); j.Rule == "unknown" || j.Rule == "QDISC_DROP_GENERIC" && name != j.Rule {
			t.Errorf("%s: no rule of its own", name)
		}
	}
}

// otherKernels are the names of core reasons that some released kernel from
// 5.17 to 7.2 has and Linux 6.18 has not.
var otherKernels = []string{
	"VXLAN_NO_REMOTE", "TC_ERROR", "QDISC_BURST_DROP", "SKB_BAD_GSO", "IPV6_TOO_MANY_EXTHDRS",
	"MACVLAN_BROADCAST_BACKLOG", "IPVLAN_MULTICAST_BACKLOG", "SKB_CONSUMED", "SKB_NOT_DROPPED_YET",
}

// otherNames are the names that 7.2 gives in two subsystems, from its BTF.
var otherNames = map[string][]string{
	"qdisc": {
		"QDISC_DROP_UNSPEC", "QDISC_DROP_GENERIC", "QDISC_DROP_OVERLIMIT", "QDISC_DROP_CONGESTED", "QDISC_DROP_MAXFLOWS",
		"QDISC_DROP_FLOOD_PROTECTION", "QDISC_DROP_BAND_LIMIT", "QDISC_DROP_HORIZON_LIMIT", "QDISC_DROP_FLOW_LIMIT",
		"QDISC_DROP_L4S_STEP_NON_ECN",
	},
	"openvswitch": {
		"OVS_DROP_LAST_ACTION", "OVS_DROP_ACTION_ERROR", "OVS_DROP_EXPLICIT", "OVS_DROP_EXPLICIT_WITH_ERROR", "OVS_DROP_METER",
		"OVS_DROP_RECURSION_LIMIT", "OVS_DROP_DEFERRED_LIMIT", "OVS_DROP_FRAG_L2_TOO_LONG", "OVS_DROP_FRAG_INVALID_PROTO",
		"OVS_DROP_CONNTRACK", "OVS_DROP_IP_TTL",
	},
}

func TestOtherKernels(t *testing.T) {
	b := newBook(t)
	for subsystem, names := range otherNames {
		for _, name := range names {
			if j := b.Judge(Case{Subsystem: subsystem, Reason: name}); j.Rule != name {
				t.Errorf("%s: got the rule %s, want one of its own", name, j.Rule)
			}
		}
	}
	for _, name := range otherKernels {
		if j := b.Judge(Case{Reason: name}); j.Rule == "unknown" {
			t.Errorf("%s: no rule", name)
		}
	}
}

func TestTextsAreComplete(t *testing.T) {
	b := newBook(t)
	seen := map[string]string{} // sentence: who says it
	say := func(who, text string) {
		t.Helper()
		text = strings.TrimSpace(text)
		if text == "" {
			t.Errorf("%s: an empty text", who)
		}
		// Sentences that say that there is nothing to do may repeat.
		if strings.HasPrefix(text, "none") || strings.HasPrefix(text, "nothing") {
			return
		}
		if other := seen[text]; other != "" && other != who {
			t.Errorf("%s and %s share a sentence: %s", other, who, text)
		}
		seen[text] = who
	}
	for _, name := range b.Reasons() {
		e, err := b.Explain(name)
		if err != nil {
			t.Fatal(err)
		}
		if e.Reason != name {
			t.Errorf("%s: got the entry of %s", name, e.Reason)
		}
		say(name, e.Why)
		if len(e.Why) > 90 {
			t.Errorf("%s: why is %d characters, too long for a table", name, len(e.Why))
		}
		for _, s := range strings.SplitAfter(e.Meaning, ". ") {
			say(name, s)
		}
		if len(e.Causes) == 0 || len(e.Confirm) == 0 || len(e.Fix) == 0 {
			t.Errorf("%s: no causes, or no way to confirm or to fix it", name)
		}
		for _, s := range slices.Concat(e.Causes, e.Confirm, e.Fix, e.Evidence, []string{e.Why, e.Meaning}) {
			// Terminals without UTF-8 show the texts, too.
			if strings.TrimSpace(s) == "" || strings.ContainsFunc(s, func(r rune) bool { return r > '~' }) {
				t.Errorf("%s: an empty line, or one that is not ASCII: %q", name, s)
			}
		}
		if e.Subsystem == "" {
			for _, s := range e.Causes {
				say(name+" causes", s)
			}
		}
		for _, p := range e.Places {
			if p.Why == "" || len(p.Why) > 90 {
				t.Errorf("%s: bad why at %v: %q", name, p.Places, p.Why)
			}
		}
	}
	if len(b.Reasons()) < 230 {
		t.Errorf("got %d entries, want at least 230", len(b.Reasons()))
	}
}

func TestExplain(t *testing.T) {
	b := newBook(t)
	for asked, want := range map[string]string{
		"no_socket":                                "NO_SOCKET",
		"SKB_DROP_REASON_NETFILTER_DROP":           "NETFILTER_DROP",
		"skb_drop_reason_tcp_csum":                 "TCP_CSUM",
		"VXLAN_NO_REMOTE":                          "NO_TX_TARGET",
		" SKB_CSUM ":                               "SKB_CSUM",
		"qdisc-drop":                               "QDISC_DROP",
		"OVS_DROP_METER":                           "OVS_DROP_METER",
		"SKB_CONSUMED":                             "CONSUMED",
		"SKB_DROP_REASON_SKB_GSO_SEG":              "SKB_GSO_SEG",
		"QDISC_DROP_DUALPI2_STEP_DROP":             "QDISC_DROP_L4S_STEP_NON_ECN",
		"SKB_DROP_REASON_BRIDGE_INGRESS_STP_STATE": "BRIDGE_INGRESS_STP_STATE",
	} {
		e, err := b.Explain(asked)
		if err != nil || e.Reason != want {
			t.Errorf("%s: got %s, %v, want %s", asked, e.Reason, err, want)
		}
	}
	for asked, want := range map[string]string{
		"NO_SOKET":  "did you mean NO_SOCKET",
		"netfilter": "did you mean NETFILTER_DROP",
		"rpfilter":  "did you mean IP_RPFILTER",
		"qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq": "netfate explain lists them all",
	} {
		if _, err := b.Explain(asked); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", asked, err, want)
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	book := newBook(b)
	for name, c := range map[string]Case{
		"known":       {Reason: "NETFILTER_DROP", Place: "nft_do_chain", Proto: "tcp", SocketState: "established"},
		"place":       {Reason: "NO_SOCKET", Place: "ping_rcv", Proto: "icmp"},
		"anonymous":   {Reason: "NOT_SPECIFIED", Place: "udp_destruct_common", Proto: "udp"},
		"nobodyKnows": {Reason: "NOT_SPECIFIED", Place: "some_driver_xmit", Proto: "udp"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				book.Judge(c)
			}
		})
	}
}
