package scenario

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// lookup is what the test compares of a query.
type lookup struct {
	QName, QType, RCode, Proto, Error, Server string
	Answers                                   int
	Retries                                   uint32
	Side                                      record.Side
	PID                                       uint32
}

// nameServer answers on both transports as the names say: ok, no, many, wide, huge,
// silent.
func nameServer(n *netlab.NetNS, addr string) {
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		name := q.Question[0].Name
		count := 1
		switch {
		case strings.HasPrefix(name, "silent."):
			return
		case strings.HasPrefix(name, "no."):
			m.Rcode, count = dns.RcodeNameError, 0
		case strings.HasPrefix(name, "many."):
			count = 90 // 3 kB
		case strings.HasPrefix(name, "wide."):
			count = 300 // 10 kB
		case strings.HasPrefix(name, "huge."):
			count = 1500 // 50 kB, in many segments and rows
		}
		for i := range count {
			rr, err := dns.NewRR(fmt.Sprintf("%s 60 IN A 192.0.%d.%d", name, i/250, i%250+1))
			n.Must("make an answer", err)
			m.Answer = append(m.Answer, rr)
		}
		n.Must("answer", w.WriteMsg(m))
	})
	for _, s := range []*dns.Server{{PacketConn: n.ListenUDP(addr), Handler: handler}, {Listener: n.ListenTCP(addr), Handler: handler}} {
		go func() { _ = s.ActivateAndServe() }() // ends with its socket
	}
}

// TestDNSLive asks a name server over UDP and TCP, for small, large and no
// answers, and wants a row of each question, once, though both ends are on this
// host, and as many as were asked.
func TestDNSLive(t *testing.T) {
	need.Root(t)
	client, server := pair(netlab.New(t))
	const at = "10.0.0.2:53"
	nameServer(server, at)
	var mu sync.Mutex
	var got []lookup
	fields := record.Fields(record.Query{})
	w := startWatch(t, func(row []byte) error {
		var q record.Query
		if err := record.ParseJSON(row, fields, &q); err != nil {
			return err
		}
		if q.NetNS != client.Inode && q.NetNS != server.Inode {
			return nil
		}
		if q.Error == "" && q.LatencyMicros == 0 || q.NetNS != client.Inode {
			return fmt.Errorf("no latency, or of the wrong namespace: %s", row)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, lookup{q.QName, q.QType, q.RCode, q.Proto, q.Error, q.Server, len(q.Answers), q.Retries, q.Side, q.PID})
		return nil
	}, "dns", "--each")

	udp := &dns.Conn{Conn: client.DialUDP("", at), UDPSize: 65535}
	ask := func(c *dns.Conn, name string, kind uint16, answered bool) {
		t.Helper()
		m := new(dns.Msg).SetQuestion(name, kind)
		m.SetEdns0(4096, false)
		client.Must("ask", c.WriteMsg(m))
		if answered {
			client.Must("set deadline", c.SetReadDeadline(time.Now().Add(20*time.Second)))
			_, err := c.ReadMsg()
			client.Must("read the answer to "+name, err)
		}
	}
	const many = 500
	for range many {
		ask(udp, "ok.example.com.", dns.TypeA, true)
	}
	ask(udp, "no.example.com.", dns.TypeAAAA, true)
	ask(udp, "many.example.com.", dns.TypeA, true)
	tcp := &dns.Conn{Conn: client.DialTCP(at)} // now: the server hangs up on who is silent for long
	ask(tcp, "huge.example.com.", dns.TypeA, true)
	ask(tcp, "ok.example.org.", dns.TypeTXT, true)
	ask(udp, "silent.example.com.", dns.TypeMX, false)
	w.stop()

	pid := uint32(os.Getpid())
	row := func(name, kind, rcode, proto, fault string, answers int) lookup {
		return lookup{name, kind, rcode, proto, fault, "10.0.0.2", answers, 0, record.Client, pid}
	}
	want := slices.Repeat([]lookup{row("ok.example.com", "A", "NOERROR", "udp", "", 1)}, many)
	want = append(want,
		row("no.example.com", "AAAA", "NXDOMAIN", "udp", "", 0),
		row("many.example.com", "A", "NOERROR", "udp", "", 90),
		row("huge.example.com", "A", "NOERROR", "tcp", "", 101),
		row("ok.example.org", "TXT", "NOERROR", "tcp", "", 1),
		row("silent.example.com", "MX", "", "udp", "unanswered", 0))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}
