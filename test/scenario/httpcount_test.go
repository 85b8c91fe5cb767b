package scenario

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	webpath "github.com/netfate/netfate/internal/http"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
	"github.com/netfate/netfate/test/web"
)

// counted is what a row of `netfate http --count` is of; the remainder is nothing.
type counted struct{ Method, Host, Path string }

// counts are the rows of `netfate http --count`. It counts on the whole host, so a
// test looks for hosts of its own.
type counts struct {
	mu   sync.Mutex
	rows map[counted]uint64
	bad  []string
}

// watchCounts starts netfate; hosts that end otherwise are somebody else's.
func watchCounts(t *testing.T, ending string, args ...string) (*watch, *counts) {
	c := &counts{rows: map[counted]uint64{}}
	fields := record.Fields(record.RequestSum{})
	w := startWatch(t, func(row []byte) error {
		var s record.RequestSum
		if err := record.ParseJSON(row, fields, &s); err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if s.Errors != nil || s.RequestBytes != nil || s.ResponseBytes != nil || s.P50Micros != 0 {
			c.bad = append(c.bad, string(row))
		}
		if s.Other || strings.HasSuffix(s.HostName, ending) {
			c.rows[counted{s.Method, s.HostName, s.Path}] += s.Requests
		}
		return nil
	}, append([]string{"http", "--count"}, args...)...)
	return w, c
}

// all returns the rows, and fails if one tells more than was counted.
func (c *counts) all(t *testing.T) map[counted]uint64 {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, row := range c.bad {
		t.Errorf("got row %s, want null for what is not counted", row)
	}
	return c.rows
}

// other removes the remainder from rows and returns how many requests it has.
func other(rows map[counted]uint64) uint64 {
	rest := rows[counted{}]
	delete(rows, counted{})
	return rest
}

// TestCountsOfNginx floods nginx from 16 connections and asks with curl, over IPv4
// and IPv6, between namespaces and over lo: what netfate counts is what nginx logs.
func TestCountsOfNginx(t *testing.T) {
	need.Time(t)
	need.Root(t)
	client, server := pair(netlab.New(t))
	client.IPv6()
	server.IPv6()
	client.Addr("eth0", "fd00::1/64")
	server.Addr("eth0", "fd00::2/64")
	nginx := startSite(t, server)
	w, got := watchCounts(t, ".counts.example")
	curl := func(n *netlab.NetNS, name, url string) {
		n.Exec("curl", "--noproxy", "*", "--silent", "--show-error", "--output", os.DevNull,
			"--header", "Host: "+name+".counts.example", url+"/item/a?session=1", url+"/none", url+"/large", "--data", "GET /no HTTP/1.1")
	}
	for i := range 4 {
		name := fmt.Sprintf("shop%d", i%2)
		curl(client, name, "http://"+serverAddr)
		curl(client, strings.ToUpper(name), "http://[fd00::2]")
		curl(server, name, "http://127.0.0.1")
	}
	t.Log(web.Wrk(client, "--threads", "1", "--connections", "16", "--duration", "1s", "--header", "Host: wrk.counts.example",
		"http://"+serverAddr+"/flood"))
	w.stop()
	rows := got.all(t)
	lines := nginx.Lines(t, int(total(rows))) // wrk leaves while it is still being answered
	want := map[counted]uint64{}
	for asked, n := range logged(t, lines) {
		want[counted{asked.Method, asked.Host, asked.Path}] += uint64(n)
	}
	if rest := other(rows); rest > 0 {
		t.Errorf("got %d requests in the remainder, want none", rest)
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("requests (-access log +netfate):\n%s", diff)
	}
	t.Logf("%d requests", len(lines))
}

// TestCountsNotOfH2 asks by HTTP/2, which does not count, not even as what its
// preface looks like, and by HTTP/1, which does.
func TestCountsNotOfH2(t *testing.T) {
	need.Time(t)
	need.Root(t)
	client, server := pair(netlab.New(t))
	nginx := startSite(t, server)
	w, got := watchCounts(t, "")
	curl := func(path string, args ...string) {
		client.Exec(append([]string{
			"curl", "--noproxy", "*", "--silent", "--show-error", "--output", os.DevNull, "--header", "Host: h2.example", "http://" + serverAddr + path,
		}, args...)...)
	}
	curl(":81/two", "--http2-prior-knowledge")
	curl("/one")
	nginx.Lines(t, 2)
	w.stop()
	rows := got.all(t)
	for k := range rows { // of other tests
		if k.Host != "h2.example" && k.Method != "PRI" && k != (counted{}) {
			delete(rows, k)
		}
	}
	if diff := cmp.Diff(map[counted]uint64{{"GET", "h2.example", "/one"}: 1}, rows); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestCountsOfAllKinds has 16 clients at once ask for all that there is, one by one
// and pipelined, with bodies of known length and in chunks, over IPv4 and IPv6: sums
// are what the server noted, by method to the last one.
func TestCountsOfAllKinds(t *testing.T) {
	need.Root(t)
	client, server := pair(netlab.New(t))
	client.IPv6()
	server.IPv6()
	client.Addr("eth0", "fd00::1/64")
	server.Addr("eth0", "fd00::2/64")
	total := 20_000
	if testing.Short() {
		total = 2_000
	}
	s := openShop(server, serverAddr+":8080", "[fd00::2]:8080")
	w, got := watchCounts(t, ".shops.example")
	byMethod, methods := watchCounts(t, "", "--by", "method")
	const clients = 16
	var wait sync.WaitGroup
	errs := make([]error, clients)
	for i := range clients {
		k := newTalker(client, [2]string{serverAddr + ":8080", "[fd00::2]:8080"}[i%2], fmt.Sprintf("shop%d.shops.example", i))
		wait.Go(func() {
			for left := total / clients; left > 0 && errs[i] == nil; {
				n := min(left, 1+i/4*5)
				errs[i] = k.ask(n)
				left -= n
			}
			errs[i] = errors.Join(errs[i], k.conn.Close())
		})
	}
	wait.Wait()
	w.stop()
	byMethod.stop()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	compareCounts(t, s, got)
	want := map[counted]uint64{}
	for k, n := range s.counts() {
		want[counted{Method: k.Method}] += uint64(n)
	}
	if diff := cmp.Diff(want, methods.all(t)); diff != "" {
		t.Errorf("requests by method (-server +netfate):\n%s", diff)
	}
}

// newTalker connects to addr, to ask for what is at a host of that name.
func newTalker(n *netlab.NetNS, addr, name string) *talker {
	k := &talker{conn: n.DialTCP(addr), name: name}
	k.read = bufio.NewReader(k.conn)
	return k
}

// compareCounts holds what netfate counted against what a server noted: rows may be
// short of what is in the remainder, the sum may not.
func compareCounts(t *testing.T, s *shop, got *counts) {
	t.Helper()
	noted := map[counted]uint64{}
	for k, n := range s.counts() {
		noted[counted{k.Method, k.Host, webpath.Template(k.Path)}] += uint64(n)
	}
	rows := got.all(t)
	rest := other(rows)
	for k, n := range rows {
		if n > noted[k] {
			t.Errorf("%v: got %d, want no more than %d", k, n, noted[k])
		}
	}
	if got, want := total(rows)+rest, total(noted); got != want {
		t.Errorf("got %d requests, of them %d in the remainder; want %d", got, rest, want)
	}
	t.Logf("%d requests, %d of them in the remainder", total(rows)+rest, rest)
}

func total[K comparable](m map[K]uint64) (sum uint64) {
	for _, n := range m {
		sum += n
	}
	return sum
}

// TestCountsInPieces sends a request in two pieces, cut at each byte of its head in
// turn: it counts by its path once its host's line is whole in the first piece, and
// by its method before, whatever there is of it.
func TestCountsInPieces(t *testing.T) {
	need.Root(t)
	client, server := pair(netlab.New(t))
	const ask = "GET /in/pieces HTTP/1.1\r\nHost: h.pieces.example\r\nContent-Length: 4\r\n\r\nGET "
	listener := server.ListenTCP(serverAddr + ":8080")
	w, got := watchCounts(t, ".pieces.example")
	ends := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		for cut := 0; err == nil && cut < len(ask); cut++ {
			if _, err = io.ReadFull(conn, make([]byte, len(ask))); err == nil {
				_, err = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			}
		}
		ends <- errors.Join(err, conn.Close())
	}()
	conn := client.DialTCP(serverAddr + ":8080")
	for cut := range len(ask) { // the first one whole, so that the connection is known
		client.Must("ask", inPieces(conn, ask, cut))
		_, err := io.ReadFull(conn, make([]byte, len("HTTP/1.1 204 No Content\r\n\r\n")))
		client.Must("read the answer", err)
	}
	client.Must("serve", <-ends)
	client.Must("close", conn.Close())
	w.stop()
	host := strings.Index(ask, "\r\nContent") + 1 // from this cut on, and the whole
	want := map[counted]uint64{{}: uint64(host - 1), {"GET", "h.pieces.example", "/in/pieces"}: uint64(len(ask) - host + 1)}
	if diff := cmp.Diff(want, got.all(t)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestCountsOutOfOrder has a wire between client and server that overtakes and
// doubles one frame in three: the sum is what the server noted.
func TestCountsOutOfOrder(t *testing.T) {
	need.Root(t)
	lab := netlab.New(t)
	client, server := lab.NetNS("client"), lab.NetNS("server")
	left, right := client.Tap("eth0"), server.Tap("eth0")
	client.Addr("eth0", clientAddr+"/24")
	server.Addr("eth0", serverAddr+"/24")
	client.Neigh("eth0", serverAddr, server.MAC("eth0"))
	server.Neigh("eth0", clientAddr, client.MAC("eth0"))
	s := openShop(server, serverAddr+":8080")
	w, got := watchCounts(t, ".muddle.example")
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { muddle(ctx, left, right, same) })
	wait.Go(func() { muddle(ctx, right, left, same) })
	for i := range 4 {
		k := newTalker(client, serverAddr+":8080", fmt.Sprintf("shop%d.muddle.example", i))
		for range 25 {
			client.Must("ask", k.ask(8))
		}
		client.Must("close", k.conn.Close())
	}
	cancel()
	wait.Wait()
	w.stop()
	compareCounts(t, s, got)
}

// TestCountsOfPeer has requests come in as no stack of this host would send them:
// twice, ahead of others, and with others in one segment. Each counts once. Of two
// holes at a time the first is given up, and that is said.
func TestCountsOfPeer(t *testing.T) {
	need.Time(t)
	need.Root(t)
	host, tap := wired(netlab.New(t))
	w, got := watchCounts(t, ".peer.example")
	p := establish(host, tap, host.ListenTCP(serverAddr+":8080"), 8080, false)
	var list []string
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		list = append(list, "GET /"+name+" HTTP/1.1\r\nHost: h.peer.example\r\n\r\n")
	}
	const posted = "POST /h HTTP/1.1\r\nHost: h.peer.example\r\nContent-Length: 58\r\n\r\n"
	list = append(list, posted, "GET /not/one HTTP/1.1\r\n\r\n", strings.Repeat("x", 33), // its body, in two
		"GET /i HTTP/1.1\r\nHost: h.peer.example\r\n\r\n", "GET /j HTTP/1.1\r\nHost: h.peer.example\r\n\r\n",
		"GET /k HTTP/1.1\r\nHost: h.peer.example\r\n\r\n", "GET /l HTTP/1.1\r\nHost: h.peer.example\r\n\r\n",
		"GET /m HTTP/1.1\r\nHost: h.peer.example\r\n\r\n")
	begin := p.seq
	say := func(first, last int) { // in one segment
		p.seq = begin + uint32(len(strings.Join(list[:first], "")))
		p.send(netlab.ACK|netlab.PSH, []byte(strings.Join(list[first:last+1], "")))
	}
	for _, segment := range [][2]int{
		{0, 0}, {0, 0}, // twice
		{2, 2}, {3, 3}, {3, 3}, {1, 1}, {1, 1}, {2, 3}, // ahead, and again
		{5, 5}, {4, 6}, {4, 5}, // sent again with what was missing and what follows
		{7, 7}, {9, 9}, {8, 8}, // a body
		{11, 11}, {13, 13}, {12, 12}, {10, 10}, {14, 14}, // two holes
	} {
		say(segment[0], segment[1])
	}
	p.acked(begin + uint32(len(strings.Join(list, ""))))
	w.stop()
	want := map[counted]uint64{}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "j", "k", "l", "m"} {
		want[counted{"GET", "h.peer.example", "/" + name}] = 1
	}
	want[counted{"POST", "h.peer.example", "/h"}] = 1
	if diff := cmp.Diff(want, got.all(t)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if !strings.Contains(w.stderr.String(), "lost 1 at http (packets too far out of order)") {
		t.Errorf("got no word of the first of two holes; netfate says:\n%s", w.stderr)
	}
}

// TestCountsMidway counts what is asked over connections that are older than netfate,
// and whose both ends are here, over veth and behind a translated address: once.
func TestCountsMidway(t *testing.T) {
	need.Root(t)
	client, server := pair(netlab.New(t))
	client.Route("10.9.9.9/32", serverAddr)
	client.Exec("nft", "add table ip nat; add chain ip nat out { type nat hook output priority -100; }; "+
		"add rule ip nat out ip daddr 10.9.9.9 dnat to "+serverAddr)
	openShop(server, serverAddr+":8080")
	before := []*talker{
		newTalker(client, serverAddr+":8080", "old.midway.example"), newTalker(client, "10.9.9.9:8080", "oldnat.midway.example"),
	}
	for _, k := range before {
		client.Must("ask before", k.ask(8))
	}
	w, got := watchCounts(t, ".midway.example", "--by", "host")
	after := []*talker{
		newTalker(client, serverAddr+":8080", "new.midway.example"), newTalker(client, "10.9.9.9:8080", "newnat.midway.example"),
	}
	want := map[counted]uint64{}
	for _, k := range append(before, after...) {
		for range 2 {
			client.Must("ask", k.ask(8))
		}
		want[counted{Host: k.name}] = 16
		client.Must("close", k.conn.Close())
	}
	w.stop()
	if diff := cmp.Diff(want, got.all(t)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestCountsOfMany asks for more than the table holds, in as few packets as can be:
// what does not fit is in the remainder, and nothing is missing.
func TestCountsOfMany(t *testing.T) {
	need.Time(t)
	need.Root(t)
	client, server := pair(netlab.New(t))
	listener := server.ListenTCP(serverAddr + ":8080")
	w, got := watchCounts(t, ".many.example")
	ends := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, err = io.Copy(io.Discard, conn)
		}
		ends <- errors.Join(err, conn.Close())
	}()
	conn := client.DialTCP(serverAddr + ":8080")
	const many = 20_000
	var text strings.Builder
	for i := range many {
		fmt.Fprintf(&text, "GET /%s HTTP/1.1\r\nHost: h.many.example\r\n\r\n", word(i))
		if i%200 == 199 {
			client.Must("ask", writeAll(conn, &text))
		}
	}
	client.Must("close", conn.Close())
	client.Must("read", <-ends)
	w.stop()
	rows := got.all(t)
	rest := other(rows)
	for k, n := range rows {
		if n != 1 {
			t.Errorf("%v: got %d, want 1", k, n)
		}
	}
	if uint64(len(rows))+rest != many {
		t.Errorf("got %d rows and %d requests in the remainder, want %d", len(rows), rest, many)
	}
	if !strings.Contains(w.stderr.String(), "table full") {
		t.Errorf("got no word of a full table; netfate says:\n%s", w.stderr)
	}
	t.Logf("%d rows, %d requests in the remainder", len(rows), rest)
}

// TestCountsTooMany has more in one packet than is looked at: that is said.
func TestCountsTooMany(t *testing.T) {
	need.Root(t)
	host := netlab.New(t).NetNS("host")
	w, got := watchCounts(t, "")
	conn, far := netlab.ConnectTCP(host, host, "127.0.0.1:8080")
	const one, many = "GET /too/many HTTP/1.1\r\n\r\n", 2000
	_, err := io.WriteString(conn, strings.Repeat(one, many)) // lo takes that in one packet
	host.Must("ask", err)
	_, err = io.ReadFull(far, make([]byte, many*len(one)))
	host.Must("read", err)
	w.stop()
	n := got.all(t)[counted{"GET", "", "/too/many"}]
	if n < 1024 || n >= many || !strings.Contains(w.stderr.String(), "lost 1 at http (too much in one packet)") {
		t.Errorf("got %d of %d requests, want 1024 at least and not all, and a word of the others; netfate says:\n%s", n, many, w.stderr)
	}
}

func writeAll(conn net.Conn, text *strings.Builder) error {
	_, err := io.WriteString(conn, text.String())
	text.Reset()
	return err
}

// word spells a number in letters, so that it is not taken for an identifier.
func word(i int) string {
	b := []byte("aaaa")
	for at := 0; i > 0; at++ {
		b[at] += byte(i % 26)
		i /= 26
	}
	return string(b)
}
