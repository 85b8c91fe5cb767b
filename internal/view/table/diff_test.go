package table

import (
	"bytes"
	"strings"
	"testing"

	"github.com/netfate/netfate/internal/diff"
	"github.com/netfate/netfate/internal/record"
)

// calm and troubled are two minutes of one host.
func calm(cfg diff.Config) *diff.Side {
	return stretch(cfg, 0, func(b *record.Batch) {
		b.Drops = append(b.Drops,
			drop(record.Policy, "NETFILTER_DROP", "nft_do_chain+0x3d1", 45, ends("tcp", "host", "eth0", record.Owner{}), record.In),
			drop(record.Resource, "SOCKET_RCVBUFF", "udp_queue_rcv_one_skb+0x2f4", 10, ends("udp", "web", "eth0", record.Owner{}), record.In),
			drop(record.Invalid, "TCP_CSUM", "tcp_v4_rcv+0x91", 4, ends("tcp", "host", "eth0", record.Owner{}), record.In))
		b.Flows = append(b.Flows,
			carried("tcp 10.0.0.7:40000 10.0.0.5:443", 1e6, owner("nginx", 7)),
			carried("tcp 10.0.0.7:40001 10.0.0.5:22", 1e5, owner("sshd", 9)))
	})
}

func troubled(cfg diff.Config) *diff.Side {
	return stretch(cfg, 600, func(b *record.Batch) {
		b.Drops = append(b.Drops,
			drop(record.Resource, "SOCKET_RCVBUFF", "udp_queue_rcv_one_skb+0x2f4", 1000, ends("udp", "web", "eth0", record.Owner{}), record.In),
			drop(record.Invalid, "TCP_CSUM", "tcp_v4_rcv+0x91", 4, ends("tcp", "host", "eth0", record.Owner{}), record.In),
			drop(record.Loss, "NEIGH_FAILED", "neigh_invalidate+0x9d", 3, ends("arp", "\x1b]0;title\x07", "br-4f5e6d7c8b9a", record.Owner{}), record.Out))
		b.Flows = append(b.Flows,
			carried("tcp 10.0.0.7:40000 10.0.0.5:443", 1e4, owner("nginx", 7)),
			carried("tcp [2001:db8:85a3:8d3:1319:8a2e:370:7348]:52112 [2001:db8:85a3:8d3:1319:8a2e:370:7344]:873", 2e7, inContainer(owner("rsync\u202e", 11), "backup")))
		if b.Start.Equal(at(600)) {
			b.Drops = append(b.Drops, drop(record.Loss, "IP_OUTNOROUTES", "ip6_pkt_discard_out+0x1c", 1, ends("tcp", "host", "eth0", record.Owner{}), record.Out))
			b.Lost = []record.Lost{{Time: at(601), Place: "drop_table", Reason: "full", Count: 7, Effect: "rows are missing"}}
		}
	})
}

func stretch(cfg diff.Config, start float64, second func(*record.Batch)) *diff.Side {
	s := diff.NewSide(cfg)
	for i := range 60 {
		b := &record.Batch{Start: at(start + float64(i)), End: at(start + float64(i) + 1)}
		second(b)
		_ = s.Batch(b) // never fails
	}
	_ = s.Close()
	return s
}

func carried(tuple string, bytes uint64, o record.Owner) record.Flow {
	return record.Flow{
		Endpoints: ends(tuple, "host", "eth0", o), PacketsIn: bytes / 1000, BytesIn: bytes, HostPackets: bytes / 1000, HostBytes: bytes,
	}
}

func showDiff(t *testing.T, o Options, rows int) string {
	t.Helper()
	var out, errs bytes.Buffer
	v, err := NewDiff(&out, &errs, o)
	if err != nil {
		t.Fatal(err)
	}
	cfg := diff.Config{Rows: rows, Why: func(d record.Drop) string { return "why of " + d.Reason }}
	if err := v.Show(diff.Compare(calm(cfg), troubled(cfg), cfg)); err != nil {
		t.Fatal(err)
	}
	return out.String() + "-- notes\n" + errs.String()
}

func TestDiff(t *testing.T) {
	golden(t, "diff", showDiff(t, Options{}, 0))
	golden(t, "diff-unicode", showDiff(t, Options{Unicode: true, Colour: true}, 1))
	golden(t, "diff-80", showDiff(t, Options{Unicode: true, Width: 80}, 0))
	golden(t, "diff-json", showDiff(t, Options{Format: JSON}, 1))
	checkWidth(t, "diff", showDiff(t, Options{Width: 60}, 0), 60)
}

func TestDiffOfNothing(t *testing.T) {
	var out bytes.Buffer
	v, err := NewDiff(&out, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	quiet := stretch(diff.Config{}, 0, func(*record.Batch) {})
	if err := v.Show(diff.Compare(quiet, quiet, diff.Config{})); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), "\n\nno losses before, none after\n") {
		t.Errorf("got %q", out.String())
	}
	if _, err := NewDiff(nil, nil, Options{Format: "xml"}); err == nil {
		t.Error("got no error for -o xml")
	}
}
