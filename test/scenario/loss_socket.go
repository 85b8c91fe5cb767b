package scenario

import (
	"time"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/netlab"
)

// socketLosses are packets for which nobody listens.
func socketLosses() []Recipe {
	return []Recipe{
		{
			Name: "udp_closed_port", Reasons: []string{"NO_SOCKET"}, Verdict: record.Refused,
			Proto: "udp", Src: clientAddr, Dst: "10.0.0.2:9000", Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				return server, func() int { client.Datagrams("10.0.0.2:9000", 5, 100); return 5 }
			},
		},
		{
			Name: "udp6_closed_port", Reasons: []string{"NO_SOCKET"}, Verdict: record.Refused,
			Proto: "udp", Src: "[fd00::1]:4000", Dst: "[fd00::2]:9000", Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host, tap := wired6(l)
				return host, func() int { return repeat(tap, 3, datagram6(4000, 9000).with(tap)) }
			},
		},
		{
			Name: "tcp_closed_port", Reasons: []string{"NO_SOCKET"}, Verdict: record.Refused,
			Proto: "tcp", Src: clientAddr, Dst: "10.0.0.2:9000", Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				client, server := pair(l)
				return server, func() int {
					for range 3 {
						if _, err := client.TryDialTCP("10.0.0.2:9000", 10*time.Second); err == nil {
							client.TB().Fatalf("got a connection to a closed port")
						}
					}
					return 3
				}
			},
		},
		{
			Name: "loopback_closed_port", Reasons: []string{"NO_SOCKET"}, Verdict: record.Refused,
			Proto: "udp", Src: "127.0.0.1", Dst: "127.0.0.1:9000", Direction: record.In, Owner: Nobody,
			Setup: func(l *netlab.Lab) (*netlab.NetNS, func() int) {
				host := l.NetNS("host")
				return host, func() int { host.Datagrams("127.0.0.1:9000", 5, 100); return 5 }
			},
		},
	}
}
