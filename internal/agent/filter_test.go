package agent

import (
	"net/netip"
	"testing"

	"github.com/netfate/netfate/internal/filter"
	"github.com/netfate/netfate/internal/record"
)

// TestSelectPackets: of each kind one row is IPv4 and one IPv6.
func TestSelectPackets(t *testing.T) {
	ends := func(proto, src, dst string) record.Endpoints {
		from, to := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
		return record.Endpoints{Proto: proto, SrcAddr: from.Addr(), SrcPort: from.Port(), DstAddr: to.Addr(), DstPort: to.Port()}
	}
	for expr, want := range map[string][2]int{ // requests, queries
		"":                {2, 2},
		"port 8080":       {1, 0},
		"src port 8080":   {1, 0}, // of the responses
		"udp":             {0, 1},
		"tcp":             {2, 1},
		"ip6":             {1, 1},
		"host 10.0.0.5":   {1, 1},
		"udp port 53":     {0, 1},
		"not port 53":     {2, 0},
		"net fd00::/8":    {1, 1},
		"host 192.0.2.77": {0, 0},
	} {
		b := &record.Batch{
			Requests: []record.Request{{Endpoints: ends("tcp", "10.0.0.5:40000", "192.0.2.9:8080")}, {Endpoints: ends("tcp", "[fd00::5]:40000", "[fd00::9]:80")}},
			Queries:  []record.Query{{Endpoints: ends("udp", "10.0.0.5:40000", "192.0.2.9:53")}, {Endpoints: ends("tcp", "[fd00::5]:40000", "[fd00::9]:53")}},
		}
		var pair *filter.Pair
		if expr != "" {
			var err error
			if pair, err = filter.Programs(t.Context(), expr); err != nil {
				t.Fatal(err)
			}
		}
		selectPackets(b, pair)
		if got := [2]int{len(b.Requests), len(b.Queries)}; got != want {
			t.Errorf("%q: got %v requests and queries, want %v", expr, got, want)
		}
	}
}
