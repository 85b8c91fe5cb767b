package iface

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// skipStats is RTEXT_FILTER_SKIP_STATS: a dump without counters, a third of
// the size.
const skipStats = 1 << 3

// dump lists the interfaces of a namespace over a socket that is opened in it;
// netns.None means the namespace that netfate runs in. The library's own
// LinkList would do, but it hides the kind of some devices and reads counters.
func dump(ns netns.NsHandle) (map[uint32]Iface, error) {
	socket, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	defer socket.Close()
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats)))
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, fmt.Errorf("dump links: %w", err)
	}
	links := make(map[uint32]Iface, len(msgs))
	for _, m := range msgs {
		index, link, err := parseLink(m)
		if err != nil {
			return nil, err
		}
		links[index] = link
	}
	return links, nil
}

// parseLink reads an RTM_NEWLINK message: struct ifinfomsg and attributes.
func parseLink(m []byte) (uint32, Iface, error) {
	if len(m) < unix.SizeofIfInfomsg {
		return 0, Iface{}, fmt.Errorf("parse link: %d bytes, want at least %d", len(m), unix.SizeofIfInfomsg)
	}
	hardware := binary.NativeEndian.Uint16(m[2:])
	index := binary.NativeEndian.Uint32(m[4:])
	link := Iface{LinkNSID: -1, HeaderLen: headerLen(hardware)}
	for kind, value := range attributes(m[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			link.Name = text(value)
		case unix.IFLA_MTU:
			link.MTU = number(value)
		case unix.IFLA_MASTER:
			link.Master = number(value)
		case unix.IFLA_LINK:
			link.Link = number(value)
		case unix.IFLA_LINK_NETNSID:
			link.LinkNSID = int32(number(value))
		case unix.IFLA_LINKINFO:
			link.Kind = text(nested(value, nl.IFLA_INFO_KIND))
		case unix.IFLA_XDP:
			mode := nested(value, nl.IFLA_XDP_ATTACHED)
			link.XDP = len(mode) == 1 && (mode[0] == xdpAttachedDriver || mode[0] == xdpAttachedMulti)
		}
	}
	switch {
	case hardware == unix.ARPHRD_LOOPBACK:
		link.Kind = "lo"
	case link.Kind == "":
		link.Kind = "physical"
	}
	link.Class = classOf(link.Kind, link.XDP)
	return index, link, nil
}

// From enum XDP_ATTACHED_* in include/uapi/linux/if_link.h.
const (
	xdpAttachedDriver = 1
	xdpAttachedMulti  = 4
)

// attributes walks netlink attributes (struct nlattr, padded to 4 bytes); it
// stops at one that does not fit. The library's ParseRouteAttr panics there.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			size := int(binary.NativeEndian.Uint16(b))
			kind := binary.NativeEndian.Uint16(b[2:]) &^ unix.NLA_F_NESTED
			if size < unix.SizeofNlAttr || size > len(b) || !yield(kind, b[unix.SizeofNlAttr:size]) {
				return
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// nested returns the value of one attribute inside another; nil if it is not
// there.
func nested(value []byte, kind uint16) []byte {
	for k, v := range attributes(value) {
		if k == kind {
			return v
		}
	}
	return nil
}

func text(value []byte) string { return string(bytes.TrimRight(value, "\x00")) }

func number(value []byte) uint32 {
	if len(value) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(value)
}

// headerLen returns the length of the link-layer header by ARPHRD_* type.
// rtnetlink does not tell dev->hard_header_len, and that holds room for more
// than the header on some devices.
func headerLen(hardware uint16) uint16 {
	switch hardware {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return 14 // ETH_HLEN
	case unix.ARPHRD_INFINIBAND:
		return 4 // IPOIB_ENCAP_LEN
	}
	return 0 // tunnels, tun, PPP: an IP packet from the first byte
}
