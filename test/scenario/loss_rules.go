package scenario

import (
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/netlab"
)

// ruleLosses are the packets that somebody asked the kernel to drop.
func ruleLosses() []Recipe {
	return []Recipe{
		nftRecipe("nft_input", "server", record.In, AnyOwner,
			`table inet f { chain c { type filter hook input priority 0; udp dport 9000 drop; }; }`),
		nftRecipe("nft_output", "client", record.Out, Self,
			`table inet f { chain c { type filter hook output priority 0; udp dport 9000 drop; }; }`),
		nftRecipe("nft_forward", "router", record.Forward, Nobody,
			`table inet f { chain c { type filter hook forward priority 0; policy drop; }; }`),
		nftRecipe("nft_prerouting", "router", record.In, Nobody,
			`table inet f { chain c { type filter hook prerouting priority -300; udp dport 9000 drop; }; }`),
		nftRecipe("nft_postrouting", "router", record.Forward, Nobody,
			`table inet f { chain c { type filter hook postrouting priority 0; udp dport 9000 drop; }; }`),
		nftRecipe("nft_ingress", "server", record.In, AnyOwner,
			`table netdev f { chain c { type filter hook ingress device "eth0" priority 0; udp dport 9000 drop; }; }`),
		nftRecipe("nft_reject", "server", record.In, AnyOwner,
			`table inet f { chain c { type filter hook input priority 0; udp dport 9000 reject; }; }`),
		{
			Name: "conntrack_invalid", Reasons: []string{"NETFILTER_DROP"}, Verdict: record.Policy,
			Proto: "tcp", Src: "10.0.0.1:4000", Dst: "10.0.0.2:80", Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				host.NFT(`table inet f { chain c { type filter hook input priority 0; ct state invalid drop; }; }`)
				host.Sysctl("net/netfilter/nf_conntrack_tcp_loose", "0")
				return host, func() int {
					for seq := range uint32(3) {
						f := datagram(4000, 80).Frame
						f.Proto, f.Flags, f.Seq, f.Ack = netlab.ProtoTCP, netlab.ACK, seq, 1
						tap.Frame(f)
					}
					return 3
				}
			},
		},
		{
			Name: "xdp_generic", Reasons: []string{"NOT_SPECIFIED", "XDP"}, Places: []string{"do_xdp_generic"}, Verdict: record.Policy,
			Proto: "udp", Src: clientAddr, Dst: "10.0.0.2:9000", Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) { return xdp(l, link.XDPGenericMode) },
		},
		{
			Name: "xdp_native", Reasons: []string{"NOT_SPECIFIED", "XDP"}, Places: []string{"veth_xdp_rcv_skb"}, Verdict: record.Policy,
			Proto: "udp", Src: clientAddr, Dst: "10.0.0.2:9000", Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) { return xdp(l, link.XDPDriverMode) },
		},
		{
			Name: "tcx_ingress", Capability: "tcx", Reasons: []string{"TC_INGRESS"}, Verdict: record.Policy,
			Proto: "udp", Src: clientAddr, Dst: "10.0.0.2:9000", Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				tcx(server, ebpf.AttachTCXIngress)
				return server, func() int { client.Datagrams("10.0.0.2:9000", 4, 100); return 4 }
			},
		},
		{
			Name: "tcx_egress", Capability: "tcx", Reasons: []string{"TC_EGRESS"}, Verdict: record.Policy,
			Proto: "udp", Src: clientAddr, Dst: "10.0.0.2:9000", Direction: record.Out, Owner: Self,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, _ := pair(l)
				tcx(client, ebpf.AttachTCXEgress)
				return client, func() int { client.Datagrams("10.0.0.2:9000", 4, 100); return 4 }
			},
		},
		{
			Name: "cls_bpf_ingress", Reasons: []string{"TC_INGRESS"}, Verdict: record.Policy,
			Proto: "udp", Src: clientAddr, Dst: "10.0.0.2:9000", Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				clsBPF(server)
				return server, func() int { client.Datagrams("10.0.0.2:9000", 4, 100); return 4 }
			},
		},
		{
			Name: "cgroup_egress", Reasons: []string{"BPF_CGROUP_EGRESS", "NOT_SPECIFIED"}, Verdict: record.Policy,
			Proto: "udp", Src: clientAddr, Dst: "10.0.0.2:9000", Direction: record.Out, Owner: Child,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, _ := pair(l)
				group := NewCgroup(l.TB())
				group.DropEgress()
				return client, func() int {
					group.Run(client, "udp-send", "10.0.0.2:9000", "5")
					return 5
				}
			},
		},
		{
			Name: "socket_filter", Reasons: []string{"SOCKET_FILTER"}, Verdict: record.Policy,
			Proto: "udp", Src: clientAddr, Dst: "10.0.0.2:9000", Direction: record.In, Owner: Self,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				conn := server.ListenUDP("10.0.0.2:9000")
				return server, func() int {
					control(server, conn, func(fd int) error {
						nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
						return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]})
					})
					client.Datagrams("10.0.0.2:9000", 4, 100)
					return 4
				}
			},
		},
		{
			Name: "rp_filter", Reasons: []string{"IP_RPFILTER"}, Verdict: record.Policy,
			Proto: "udp", Src: "10.9.9.9:4000", Dst: "10.0.0.2:9000", Direction: record.In,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				host.Sysctl("net/ipv4/conf/all/rp_filter", "1")
				host.Sysctl("net/ipv4/conf/eth0/rp_filter", "1")
				return host, func() int {
					f := datagram(4000, 9000)
					f.Src = addrPort("10.9.9.9", 4000)
					return repeat(tap, 3, f.with(tap))
				}
			},
		},
		{
			Name: "xfrm_policy", Reasons: []string{"XFRM_POLICY"}, Verdict: record.Policy,
			Proto: "udp", Src: "10.0.0.1:4000", Dst: "10.0.0.2:9000", Direction: record.In,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				host.ListenUDP("10.0.0.2:9000")
				host.Exec("ip", "xfrm", "policy", "add", "src", clientAddr, "dst", serverAddr, "dir", "in", "action", "block")
				return host, func() int { return repeat(tap, 3, datagram(4000, 9000).with(tap)) }
			},
		},
		{
			Name: "ipv6_disabled", Reasons: []string{"IPV6DISABLED"}, Verdict: record.Policy,
			Proto: "udp", Src: "[fd00::1]:4000", Dst: "[fd00::2]:9000", Direction: record.In,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				return host, func() int { return repeat(tap, 3, datagram6(4000, 9000).with(tap)) }
			},
		},
		{
			Name: "unicast_in_broadcast", Reasons: []string{"UNICAST_IN_L2_MULTICAST"}, Verdict: record.Policy,
			Proto: "udp", Src: "10.0.0.1:4000", Dst: "10.0.0.2:9000", Direction: record.In,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired(l)
				host.ListenUDP("10.0.0.2:9000")
				host.Sysctl("net/ipv4/conf/eth0/drop_unicast_in_l2_multicast", "1")
				return host, func() int {
					f := datagram(4000, 9000)
					f.DstMAC = broadcast
					return repeat(tap, 3, f.with(tap))
				}
			},
		},
	}
}

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// nftRecipe loads the rules into one namespace of a routed network and sends
// five datagrams from client to server.
func nftRecipe(name, where string, direction record.Direction, owner Owner, rules string) Recipe {
	return Recipe{
		Name: name, Reasons: []string{"NETFILTER_DROP"}, Verdict: record.Policy,
		Proto: "udp", Src: farClient, Dst: farServer + ":9000", Direction: direction, Owner: owner,
		Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
			client, router, server := routed(l)
			server.ListenUDP(farServer + ":9000")
			at := map[string]*netlab.NetNS{"client": client, "router": router, "server": server}[where]
			at.NFT(rules)
			return at, func() int { client.Datagrams(farServer+":9000", 5, 100); return 5 }
		},
	}
}

// xdp drops everything that arrives at the server by XDP in the mode given.
func xdp(l *netlab.Lab, mode link.XDPAttachFlags) (*netlab.NetNS, func() int) {
	client, server := pair(l)
	program := returns(l.TB(), ebpf.XDP, 1) // XDP_DROP
	index := server.Index("eth0")
	server.Do(func() error {
		attached, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: index, Flags: mode})
		if err == nil {
			l.TB().Cleanup(func() { attached.Close() })
		}
		return err
	})
	return server, func() int { client.Datagrams("10.0.0.2:9000", 4, 100); return 4 }
}

// tcx drops everything on eth0 at the hook given.
func tcx(n *netlab.NetNS, hook ebpf.AttachType) {
	tb := n.TB()
	program := returns(tb, ebpf.SchedCLS, 2) // TCX_DROP
	index := n.Index("eth0")
	n.Do(func() error {
		attached, err := link.AttachTCX(link.TCXOptions{Program: program, Interface: index, Attach: hook})
		if err == nil {
			tb.Cleanup(func() { attached.Close() })
		}
		return err
	})
}

// clsBPF drops everything that arrives on eth0 by a classic classifier.
func clsBPF(n *netlab.NetNS) {
	program := returns(n.TB(), ebpf.SchedCLS, 2) // TC_ACT_SHOT
	at := netlink.QdiscAttrs{LinkIndex: n.Index("eth0"), Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
	n.Must("add clsact", n.Netlink().QdiscAdd(&netlink.GenericQdisc{QdiscAttrs: at, QdiscType: "clsact"}))
	n.Must("add bpf filter", n.Netlink().FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: at.LinkIndex, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL,
		},
		Fd: program.FD(), Name: "drop", DirectAction: true,
	}))
}

// returns loads a program that returns one value and does nothing else.
func returns(tb netlab.TB, kind ebpf.ProgramType, value int32) *ebpf.Program {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "nf_scenario", Type: kind, License: "Apache-2.0",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, value), asm.Return()},
	})
	if err != nil {
		tb.Fatalf("load a two-instruction %v program: %v", kind, err)
	}
	tb.Cleanup(func() { program.Close() })
	return program
}

// control runs f on the socket's file.
func control(n *netlab.NetNS, conn *net.UDPConn, f func(fd int) error) {
	raw, err := conn.SyscallConn()
	n.Must("open raw socket", err)
	n.Must("reach socket", raw.Control(func(fd uintptr) { err = f(int(fd)) }))
	n.Must("set socket option", err)
}
