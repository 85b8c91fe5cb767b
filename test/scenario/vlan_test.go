package scenario

import (
	"bufio"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// vlan makes a VLAN of an interface, up and with an address, and ends the test
// as its kernel allows where that has none.
func vlan(t *testing.T, n *netlab.NetNS, parent, name string, protocol netlink.VlanProtocol, id int, addr string) {
	t.Helper()
	link := &netlink.Vlan{
		LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: n.Index(parent), TxQLen: -1}, VlanId: id, VlanProtocol: protocol,
	}
	if err := n.Netlink().LinkAdd(link); err != nil {
		need.Feature{What: "VLANs (8021q)", Options: []string{"CONFIG_VLAN_8021Q"}}.Skip(t, err)
	}
	n.Up(name)
	if addr != "" {
		n.Addr(name, addr)
	}
}

// TestVLAN asks over a VLAN and over one inside another (802.1ad), where each
// packet passes three interfaces on either end: a row for each request and
// question, once, between the addresses of its own network.
func TestVLAN(t *testing.T) {
	need.Root(t)
	client, server := pair(netlab.New(t))
	for i, n := range []*netlab.NetNS{client, server} {
		n.IPv6()
		vlan(t, n, "eth0", "inner", netlink.VLAN_PROTOCOL_8021Q, 7, fmt.Sprintf("10.7.0.%d/24", i+1))
		vlan(t, n, "eth0", "outer", netlink.VLAN_PROTOCOL_8021AD, 100, "")
		vlan(t, n, "outer", "twice", netlink.VLAN_PROTOCOL_8021Q, 7, fmt.Sprintf("fd09::%d/64", i+1))
	}
	hosts := [...][2]string{{"10.7.0.1", "10.7.0.2"}, {"fd09::1", "[fd09::2]"}}
	requests := openShop(server, hosts[0][1]+":8080", hosts[1][1]+":8080")
	w, got := watchRequests(t, client, plainOnly()...)
	d, questions := watchQuestions(t, client)
	const many = 40
	want := map[string]int{}
	for _, h := range hosts {
		nameServer(server, h[1]+":53")
		k := &talker{conn: client.DialTCP(h[1] + ":8080"), name: "shop.example"}
		k.read = bufio.NewReader(k.conn)
		c := &dns.Conn{Conn: client.DialUDP("", h[1]+":53")}
		for range many {
			client.Must("ask for a page", k.ask(1))
			client.Must("ask for a name", c.WriteMsg(new(dns.Msg).SetQuestion("ok.example.com.", dns.TypeA)))
			client.Must("set deadline", c.SetReadDeadline(time.Now().Add(20*time.Second)))
			_, err := c.ReadMsg()
			client.Must("read the answer", err)
		}
		client.Must("close", k.conn.Close())
		want[h[0]+" "+h[1]] = many
	}
	w.stop()
	d.stop()
	if diff := cmp.Diff(requests.counts(), got.counts(t)); diff != "" {
		t.Errorf("requests (-server +netfate):\n%s", diff)
	}
	ends := map[string]int{}
	for i := range got.rows {
		ends[between(&got.rows[i].Endpoints)]++
	}
	if diff := cmp.Diff(want, ends); diff != "" {
		t.Errorf("requests by their ends (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, questions.counts()); diff != "" {
		t.Errorf("questions by their ends (-want +got):\n%s", diff)
	}
}

// between names the addresses of a row's ends as the test wrote them.
func between(e *record.Endpoints) string {
	if e.DstAddr.Is6() {
		return fmt.Sprintf("%s [%s]", e.SrcAddr, e.DstAddr)
	}
	return fmt.Sprintf("%s %s", e.SrcAddr, e.DstAddr)
}

// tally counts rows by their ends.
type tally struct {
	mu sync.Mutex
	of map[string]int
}

func (n *tally) counts() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.of
}

// watchQuestions starts netfate for the answered questions whose socket is in n.
func watchQuestions(t *testing.T, n *netlab.NetNS) (*watch, *tally) {
	count := &tally{of: map[string]int{}}
	fields := record.Fields(record.Query{})
	return startWatch(t, func(row []byte) error {
		var q record.Query
		if err := record.ParseJSON(row, fields, &q); err != nil {
			return err
		}
		if q.NetNS != n.Inode {
			return nil
		}
		if q.Error != "" || q.LatencyMicros == 0 || q.Side != record.Client {
			return fmt.Errorf("not a whole question of a client: %s", row)
		}
		count.mu.Lock()
		defer count.mu.Unlock()
		count.of[between(&q.Endpoints)]++
		return nil
	}, "dns", "--each"), count
}
