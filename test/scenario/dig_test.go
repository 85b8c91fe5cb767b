package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// watchQueries starts `netfate dns --each` and gives each row of the namespace that
// asks to each.
func watchQueries(t *testing.T, client *netlab.NetNS, each func(*record.Query)) *watch {
	t.Helper()
	fields := record.Fields(record.Query{})
	var mu sync.Mutex
	return startWatch(t, func(row []byte) error {
		var q record.Query
		if err := record.ParseJSON(row, fields, &q); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if q.NetNS == client.Inode {
			if q.Comm != "" && !strings.HasPrefix(q.Comm, "dig") && !strings.HasPrefix(q.Comm, "isc-") {
				return fmt.Errorf("asked by %q, want dig", q.Comm)
			}
			each(&q)
		}
		return nil
	}, "dns", "--each")
}

// TestDigAndDNSMasq lets 16 digs at once ask dnsmasq for everything that it has and
// has not, and wants the counts by name, type and response code that dnsmasq's own
// log has.
func TestDigAndDNSMasq(t *testing.T) {
	need.Time(t)
	need.Root(t)
	client, server := pair(netlab.New(t))
	failing := server.ListenUDP("127.0.0.1:5300")
	failer := &dns.Server{PacketConn: failing, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
	})}
	go func() { _ = failer.ActivateAndServe() }() // ends with its socket
	options := []string{
		"--local=/test/", "--host-record=a.test,10.0.0.2,fd00::2", "--txt-record=t.test,hello", "--mx-host=m.test,a.test,10",
		"--server=/fail.test/127.0.0.1#5300",
	}
	const texts = 50 // 10 kB in all
	for i := range texts {
		options = append(options, fmt.Sprintf("--txt-record=big.test,%0200d", i))
	}
	d := startDNSMasq(server, serverAddr, options...)

	got := map[inquiry]int{}
	var truncated, tcp, unanswered []record.Query
	w := watchQueries(t, client, func(q *record.Query) {
		switch {
		case q.Error != "":
			unanswered = append(unanswered, *q)
			return
		case q.Truncated:
			truncated = append(truncated, *q)
		case q.Proto == "tcp":
			tcp = append(tcp, *q)
		}
		got[inquiry{q.QName, q.QType, q.RCode}]++
	})
	const clients = 16
	rounds := 40
	if testing.Short() { // a guest's dig takes long
		rounds = 4
	}
	var all sync.WaitGroup
	for i := range clients {
		var batch strings.Builder
		for j := range rounds {
			fmt.Fprintf(&batch, "a.test A\na.test AAAA\nt.test TXT\nm.test MX\na.test TXT\nnone-%d.test A\nother-%d.example A\nno-%d-%d.fail.test A\nbig.test TXT +bufsize=4096 +ignore\n",
				j, i, i, j)
		}
		batch.WriteString("big.test TXT +noedns\n")
		file := filepath.Join(t.TempDir(), "questions")
		if err := os.WriteFile(file, []byte(batch.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			// Now and then dig gives up on an answer that it was sent, netfate or not.
			_, _ = client.TryExec("dig", "@"+serverAddr, "+noall", "+tries=1", "+timeout=2", "-f", file)
			_, _ = client.TryExec("dig", "@"+serverAddr, "+tcp", "+tries=1", "t.test", "TXT")
		})
	}
	all.Wait()
	want := d.logged()
	d.freeze()
	_, _ = client.TryExec("dig", "@"+serverAddr, "+tries=3", "+timeout=1", "silent.test", "A")
	w.stop()

	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("questions (-dnsmasq's log +netfate):\n%s", diff)
	}
	sum := 0
	for _, n := range got {
		sum += n
	}
	// Nine of each round, the truncated one again by TCP, and two by themselves.
	if want := clients * (9*rounds + 3); sum != want {
		t.Errorf("got %d questions, want %d", sum, want)
	}
	if want := clients * (rounds + 1); len(truncated) != want {
		t.Errorf("got %d truncated answers, want %d", len(truncated), want)
	}
	if len(tcp) != 2*clients {
		t.Errorf("got %d questions by TCP, want %d", len(tcp), 2*clients)
	}
	for i := range tcp {
		if n := len(tcp[i].Answers); tcp[i].QName == "big.test" && n != texts {
			t.Errorf("got %d answers by TCP, want %d", n, texts)
		}
	}
	retries := uint32(0)
	for i := range unanswered {
		q := &unanswered[i]
		retries += 1 + q.Retries
		if q.QName != "silent.test" || q.Error != record.Unanswered || q.RCode != "" {
			t.Errorf("got %s %s: %s, want silent.test unanswered", q.QName, q.RCode, q.Error)
		}
	}
	if retries != 3 {
		t.Errorf("got %d questions to who is silent, want 3: %+v", retries, unanswered)
	}
}

// TestDigAtAnotherPort asks a name server whose address and port netfilter makes others
// of on the way out, as Docker does in each container: its rows have those that dig
// knows.
func TestDigAtAnotherPort(t *testing.T) {
	need.Root(t)
	client, _ := pair(netlab.New(t))
	client.Up("lo")
	nameServer(client, "127.0.0.1:4053")
	const inside = "127.0.0.11"
	client.Exec("nft", "add table ip nat; add chain ip nat out { type nat hook output priority -100; }; "+
		"add rule ip nat out ip daddr "+inside+" meta l4proto { tcp, udp } th dport 53 dnat to 127.0.0.1:4053")
	var got []inquiry
	w := watchQueries(t, client, func(q *record.Query) {
		if q.DstAddr.String() != inside || q.DstPort != 53 || q.Error != "" || q.LatencyMicros == 0 {
			t.Errorf("got %+v, want a question to %s and its answer", q, inside)
		}
		got = append(got, inquiry{q.QName, q.QType, q.RCode})
	})
	client.Exec("dig", "@"+inside, "+tries=1", "a.test", "A")
	client.Exec("dig", "@"+inside, "+tcp", "+tries=1", "a.test", "TXT")
	w.stop()
	want := []inquiry{{"a.test", "A", "NOERROR"}, {"a.test", "TXT", "NOERROR"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("questions (-want +got):\n%s", diff)
	}
}

// TestLargeDatagrams: answers of up to 64 KiB over UDP are read to their end, over
// both versions of IP.
func TestLargeDatagrams(t *testing.T) {
	need.Time(t)
	need.Root(t)
	client, server := pair(netlab.New(t))
	nameServer(server, serverAddr+":53")
	const serverSix = "fd00::2"
	for n, addr := range map[*netlab.NetNS]string{client: "fd00::1/64", server: serverSix + "/64"} {
		n.IPv6()
		n.Addr("eth0", addr)
	}
	client.Neigh("eth0", serverSix, server.MAC("eth0"))
	server.Neigh("eth0", "fd00::1", client.MAC("eth0"))
	nameServer(server, "["+serverSix+"]:53")
	got := map[string]string{}
	w := watchQueries(t, client, func(q *record.Query) {
		last := ""
		if len(q.Answers) > 0 {
			last = q.Answers[len(q.Answers)-1]
		}
		got[q.QName] = fmt.Sprintf("%s %s %s %d %s", q.Proto, q.RCode, q.Error, len(q.Answers), last)
	})
	for _, name := range []string{"ok.example.com", "many.example.com", "wide.example.com", "huge.example.com", "ok.six.example.com", "huge.six.example.com"} {
		at := serverAddr
		if strings.Contains(name, ".six.") {
			at = serverSix
		}
		out := client.Exec("dig", "@"+at, "+bufsize=65535", "+ignore", "+tries=1", "+timeout=20", name, "A")
		if !strings.Contains(out, "status: NOERROR") {
			t.Errorf("dig %s says:\n%s", name, out)
		}
	}
	w.stop()
	want := map[string]string{
		"ok.example.com":       "udp NOERROR  1 192.0.0.1",
		"many.example.com":     "udp NOERROR  90 192.0.0.90",
		"wide.example.com":     "udp NOERROR  101 200 more",
		"huge.example.com":     "udp NOERROR  101 1400 more",
		"ok.six.example.com":   "udp NOERROR  1 192.0.0.1",
		"huge.six.example.com": "udp NOERROR  101 1400 more",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}
