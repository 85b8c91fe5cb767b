package main

import (
	"github.com/vishvananda/netlink"

	"github.com/netfate/netfate/test/netlab"
)

// company is the network:
//
//	office 10.1.0.2 ── lan 10.1.0.1 ┐        ┌ dmz 10.2.0.1 ── 10.2.0.2 server
//	                                 ├ router ┤
//	                                 ┘        └ wan 10.3.0.1 ── 10.3.0.2 branch
//
// The router filters, checks where packets come from, and shapes the line to
// the branch, whose MTU is 1280.
type company struct{ office, router, server, branch *netlab.NetNS }

// The addresses that roles talk to.
const (
	officeAddr = "10.1.0.2"
	serverAddr = "10.2.0.2"
	branchAddr = "10.3.0.2"
)

func build(tb netlab.TB) *company {
	l := netlab.New(tb)
	c := &company{office: l.NetNS("office"), router: l.NetNS("router"), server: l.NetNS("server"), branch: l.NetNS("branch")}
	for _, leg := range []struct {
		host     *netlab.NetNS
		port     string
		gateway  string
		hostAddr string
	}{
		{c.office, "lan", "10.1.0.1", officeAddr},
		{c.server, "dmz", "10.2.0.1", serverAddr},
		{c.branch, "wan", "10.3.0.1", branchAddr},
	} {
		l.Veth(leg.host, "eth0", c.router, leg.port)
		leg.host.Addr("eth0", leg.hostAddr+"/24")
		c.router.Addr(leg.port, leg.gateway+"/24")
		leg.host.Route("default", leg.gateway)
	}
	c.router.MTU("wan", 1280)
	c.branch.MTU("eth0", 1280)
	c.router.Forwarding()
	for _, which := range []string{"all", "lan"} {
		c.router.Sysctl("net/ipv4/conf/"+which+"/rp_filter", "1")
	}
	c.router.NFT(`table inet firewall {
		chain forward {
			type filter hook forward priority 0; policy accept;
			tcp dport 445 counter drop comment "no file sharing across the router"
			udp dport 1900 counter drop comment "no discovery across the router"
		}
	}`)
	err := c.router.Netlink().QdiscReplace(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: c.router.Index("wan"), Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       400_000 / 8, Buffer: netlink.Xmittime(400_000/8, 2000), Limit: 6000,
	})
	c.router.Must("shape the line", err)
	c.office.Sysctl("net/ipv4/neigh/eth0/mcast_solicit", "1")
	return c
}

// place returns the namespace of the name that a role gives.
func (c *company) place(name string) *netlab.NetNS {
	switch name {
	case "office":
		return c.office
	case "server":
		return c.server
	case "branch":
		return c.branch
	}
	return c.router
}
