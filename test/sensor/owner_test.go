package sensor

import (
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/sensor/owner"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// TestScan finds a socket that is older than the sensor, by the tuple that its
// packets have: a socket of IPv6 that talks IPv4 is one of IPv4.
func TestScan(t *testing.T) {
	need.Root(t)
	n := netlab.New(t).NetNS("a")
	n.IPv6()
	for _, c := range []struct {
		name, addr string
		family     int
		ethProto   uint16
	}{
		{"IPv4", "127.0.0.1", unix.AF_INET, 0x0800},
		{"IPv6", "::1", unix.AF_INET6, 0x86dd},
		{"IPv4 by a socket of IPv6", "::ffff:127.0.0.1", unix.AF_INET6, 0x0800},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := netip.MustParseAddr(c.addr)
			socket := n.Socket(c.family, unix.SOCK_DGRAM, 0)
			var to unix.Sockaddr = &unix.SockaddrInet6{Addr: addr.As16(), Port: 9}
			if c.family == unix.AF_INET {
				to = &unix.SockaddrInet4{Addr: addr.As4(), Port: 9}
			}
			check(t, unix.Connect(socket.FD, to))

			s, err := owner.New(owner.Config{})
			check(t, err)
			t.Cleanup(func() { check(t, s.Close()) })
			check(t, s.Attach())
			var found []decode.OpenSocket
			check(t, s.Scan(func(row *decode.OpenSocket) {
				if row.Owner.NetNS == n.Inode && row.DstPort == 9 {
					found = append(found, *row)
				}
			}))
			socket.Close()
			if len(found) != 1 {
				t.Fatalf("got %d sockets, want 1: %+v", len(found), found)
			}
			got := found[0]
			if got.EthProto != c.ethProto || got.Proto != 17 || got.Dst != addr.As16() || got.Src != addr.As16() || got.SrcPort == 0 {
				t.Errorf("got %+v, want one of UDP over %#x from %s to port 9 there", got.Tuple, c.ethProto, c.addr)
			}
			if got.Owner.PID != uint32(os.Getpid()) || got.Owner.Start == 0 {
				t.Errorf("got owner %+v, want this process, %d", got.Owner, os.Getpid())
			}
			p, ok := s.Process(decode.ProcessKey{Start: got.Owner.Start, PID: got.Owner.PID})
			if !ok || decode.Comm(p.Comm) == "" || p.UID != 0 {
				t.Errorf("got process %+v, %v; want root's, with a name", p, ok)
			}
		})
	}
}
