package scenario

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// shop is a server that answers as the first word of the path says, and notes
// what it was asked.
type shop struct {
	mu    sync.Mutex
	asked map[asked]int
}

// openShop serves on the addresses until the test ends.
func openShop(n *netlab.NetNS, addrs ...string) *shop {
	s := &shop{asked: map[asked]int{}}
	for _, addr := range addrs {
		s.open(n, n.ListenTCP(addr))
	}
	return s
}

func (s *shop) open(n *netlab.NetNS, listener net.Listener) {
	server := &http.Server{Handler: s}
	var wait sync.WaitGroup
	wait.Go(func() { _ = server.Serve(listener) }) // its error says that it was closed
	n.TB().Cleanup(func() {
		n.Must("close the shop", server.Close())
		wait.Wait()
	})
}

// ServeHTTP answers /KIND/SIZE/anything.
func (s *shop) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	part := strings.Split(in.URL.Path, "/")
	kind := part[1]
	size, err := strconv.Atoi(part[2])
	if _, up := io.Copy(io.Discard, in.Body); err != nil || up != nil {
		http.Error(out, "no", http.StatusBadRequest)
		return
	}
	status := http.StatusOK
	switch kind {
	case "gone":
		status = http.StatusGone
	case "nothing":
		status, size = http.StatusNoContent, 0
	case "head":
		defer func() { size = 0 }()
	}
	note := asked{in.Method, in.Host, in.URL.Path, uint16(status), uint64(size)}
	if kind == "head" {
		note.Bytes = 0
	}
	if kind != "chunks" && kind != "nothing" {
		out.Header().Set("Content-Length", strconv.Itoa(size))
	}
	out.WriteHeader(status)
	s.mu.Lock()
	s.asked[note]++
	s.mu.Unlock()
	if kind == "head" {
		return
	}
	for size > 0 {
		n := min(size, 3000)
		if _, err := out.Write(bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), n/16+1)[:n]); err != nil {
			return // the client left
		}
		if size -= n; kind == "chunks" {
			out.(http.Flusher).Flush()
		}
	}
}

// counts returns what was asked so far.
func (s *shop) counts() map[asked]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[asked]int{}
	for k, n := range s.asked {
		counts[k] = n
	}
	return counts
}

// talker asks over one connection, one by one or many at once.
type talker struct {
	conn   net.Conn
	read   *bufio.Reader
	name   string
	number int
}

// request is the text of one, and the method that it is of.
type request struct{ method, text string }

// next makes up a request: all kinds in turn.
func (k *talker) next() request {
	k.number++
	line := func(method, kind string, size int, more string) request {
		return request{method, fmt.Sprintf("%s /%s/%d/%d?q=secret HTTP/1.1\r\nHost: %s\r\nUser-Agent: talker\r\n%s", method, kind, size, k.number%5, k.name, more)}
	}
	switch k.number % 8 {
	case 0:
		return line("POST", "posted", 20, "Content-Length: 3000\r\n\r\n"+strings.Repeat("a body\n", 500)[:3000])
	case 1:
		return line("GET", "chunks", 1500, "\r\n")
	case 2:
		return line("HEAD", "head", 12345, "\r\n")
	case 3:
		return line("GET", "nothing", 0, "\r\n")
	case 4:
		return line("PUT", "put", 0, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n")
	case 5:
		return line("GET", "gone", 300, "Cookie: "+strings.Repeat("crumb=1; ", 80)+"\r\n\r\n")
	}
	if k.number%64 == 6 {
		return line("GET", "large", 40_000, "\r\n")
	}
	return line("GET", "plain", 100, "\r\n")
}

// ask sends so many requests in one go, and reads the responses.
func (k *talker) ask(count int) error {
	var text strings.Builder
	var list []request
	for range count {
		r := k.next()
		list = append(list, r)
		text.WriteString(r.text)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(k.conn, text.String())
		sent <- err
	}()
	for _, r := range list {
		answer, err := http.ReadResponse(k.read, &http.Request{Method: r.method})
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
	}
	return <-sent
}

// TestRequestsByTheHundredThousand has 16 clients at once ask for all that there
// is, over connections that they keep, one by one and pipelined, over IPv4 and
// IPv6: what netfate tells is what the server noted.
func TestRequestsByTheHundredThousand(t *testing.T) {
	need.Time(t)
	need.Root(t)
	client, server := pair(netlab.New(t))
	client.IPv6()
	server.IPv6()
	client.Addr("eth0", "fd00::1/64")
	server.Addr("eth0", "fd00::2/64")
	total := 100_000
	if testing.Short() {
		total = 4_000
	}
	s := openShop(server, serverAddr+":8080", "[fd00::2]:8080")
	w, got := watchRequests(t, client, plainOnly()...)
	// So far may they be ahead of what netfate told: it need not keep up with a
	// machine that is busy with other things, and all of it fits the ring.
	const clients, lead = 16, 3_000
	var wait sync.WaitGroup
	errs := make([]error, clients)
	for i := range clients {
		addr := [2]string{serverAddr + ":8080", "[fd00::2]:8080"}[i%2]
		k := &talker{conn: client.DialTCP(addr), name: fmt.Sprintf("shop%d.example", i)}
		k.read = bufio.NewReader(k.conn)
		wait.Go(func() {
			for left := total / clients; left > 0 && errs[i] == nil; {
				n := min(left, 1+i/4*5)
				errs[i] = errors.Join(k.ask(n), got.wait(total-left*clients-lead))
				left -= n
			}
			errs[i] = errors.Join(errs[i], k.conn.Close())
		})
	}
	wait.Wait()
	w.stop()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(s.counts(), got.counts(t)); diff != "" {
		t.Errorf("requests (-server +netfate):\n%s", diff)
	}
}

// wait returns when so many rows have come.
func (r *requests) wait(rows int) error {
	if netlab.Poll(60*time.Second, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.rows) >= rows
	}) {
		return nil
	}
	return fmt.Errorf("netfate did not tell %d requests within a minute", rows)
}

// TestRequestsInPieces sends a request in two pieces, cut at each byte of its
// head in turn, and gets a response that is cut likewise.
func TestRequestsInPieces(t *testing.T) {
	need.Root(t)
	client, server := pair(netlab.New(t))
	const ask = "GET /in/pieces HTTP/1.1\r\nHost: h\r\n\r\n"
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"
	listener := server.ListenTCP(serverAddr + ":8080")
	w, got := watchRequests(t, client, plainOnly()...)
	ends := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		for cut := 1; err == nil && cut < len(ask); cut++ {
			if _, err = io.ReadFull(conn, make([]byte, len(ask))); err == nil {
				err = inPieces(conn, answer, min(cut, len(answer)-1))
			}
		}
		ends <- errors.Join(err, conn.Close())
	}()
	conn := client.DialTCP(serverAddr + ":8080")
	for cut := 1; cut < len(ask); cut++ {
		client.Must("ask", inPieces(conn, ask, cut))
		_, err := io.ReadFull(conn, make([]byte, len(answer)))
		client.Must("read the answer", err)
	}
	client.Must("serve", <-ends)
	client.Must("close", conn.Close())
	w.stop()
	want := map[asked]int{{"GET", "h", "/in/pieces", 200, 3}: len(ask) - 1}
	if diff := cmp.Diff(want, got.counts(t)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// inPieces writes text in two segments: Go's connections do not wait to fill one.
func inPieces(conn net.Conn, text string, cut int) error {
	_, err := io.WriteString(conn, text[:cut])
	if err == nil {
		_, err = io.WriteString(conn, text[cut:])
	}
	return err
}

// TestRequestsOfAllKinds: large bodies of either kind, until the connection
// closes, an upgrade, a continuation, and one that is never answered.
func TestRequestsOfAllKinds(t *testing.T) {
	need.Root(t)
	client, server := pair(netlab.New(t))
	openShop(server, serverAddr+":8080")
	raw := server.ListenTCP(serverAddr + ":8081")
	w, got := watchRequests(t, client, plainOnly()...)
	curl := func(n *netlab.NetNS, args ...string) {
		n.Exec(append([]string{"curl", "--noproxy", "*", "--silent", "--show-error", "--output", os.DevNull}, args...)...)
	}
	curl(client, "http://"+serverAddr+":8080/large/1000000/a", "http://"+serverAddr+":8080/chunks/300000/b", "http://"+serverAddr+":8080/plain/10/c")
	const uploaded = 200_000
	file := filepath.Join(t.TempDir(), "upload")
	client.Must("write a file", os.WriteFile(file, bytes.Repeat([]byte("01234567\n\n"), uploaded/10), 0o600))
	curl(client, "--data-binary", "@"+file, "--header", "Expect: 100-continue", "http://"+serverAddr+":8080/up/10/d")
	say := func(answer string) {
		go func() {
			conn, err := raw.Accept()
			server.Must("accept", err)
			_, err = conn.Read(make([]byte, 4096))
			server.Must("read", err)
			_, err = io.WriteString(conn, answer)
			server.Must("answer", errors.Join(err, conn.Close()))
		}()
	}
	say("HTTP/1.0 200 OK\r\n\r\n" + strings.Repeat("until the end\n", 10_000))
	curl(client, "http://"+serverAddr+":8081/close")
	say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + "\x81\x05hello")
	conn := client.DialTCP(serverAddr + ":8081")
	_, err := io.WriteString(conn, "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	client.Must("ask", err)
	_, err = io.Copy(io.Discard, conn)
	client.Must("read", errors.Join(err, conn.Close()))
	say("")
	conn = client.DialTCP(serverAddr + ":8081")
	_, err = io.WriteString(conn, "GET /silence HTTP/1.1\r\nHost: h\r\n\r\n")
	client.Must("ask", err)
	_, _ = io.Copy(io.Discard, conn)
	client.Must("close", conn.Close())
	w.stop()

	type row struct {
		Protocol, Method, Path, Error string
		Status                        uint16
	}
	var rows []row
	for i := range got.rows {
		q := &got.rows[i]
		rows = append(rows, row{q.Protocol, q.Method, q.Path, q.Error, q.Status})
		// Chunks that were not copied are counted with their lines.
		if want := map[string]uint64{"/large/1000000/a": 1_000_000, "/chunks/300000/b": 300_000, "/close": 140_000}[q.Path]; q.ResponseBytes < want || q.ResponseBytes > want+want/100+10 {
			t.Errorf("%s: got %d bytes, want %d", q.Path, q.ResponseBytes, want)
		}
		if q.Method == "POST" && q.RequestBytes != uploaded {
			t.Errorf("%s: got %d bytes up, want %d", q.Path, q.RequestBytes, uploaded)
		}
	}
	want := []row{
		{"http/1.1", "GET", "/large/1000000/a", "", 200}, {"http/1.1", "GET", "/chunks/300000/b", "", 200}, {"http/1.1", "GET", "/plain/10/c", "", 200},
		{"http/1.1", "POST", "/up/10/d", "", 200}, {"http/1.1", "GET", "/close", "", 200},
		{"websocket", "GET", "/chat", "", 101}, {"http/1.1", "GET", "/silence", record.Unanswered, 0},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// TestRequestsInChunks sends bodies in chunks, longer than what is copied of them, whose
// segments end anywhere in what looks like the head of a response. The last chunk comes
// by itself, or with the one before it, and ends the row while the connection stays open.
func TestRequestsInChunks(t *testing.T) {
	need.Root(t)
	client, server := pair(netlab.New(t))
	w, got := watchRequests(t, client, plainOnly()...)
	out, in := netlab.ConnectTCP(client, server, serverAddr+":8080")
	// What is said is read before anything else is: it is a segment of its own.
	say := func(from, to net.Conn, text string) {
		_, wrote := io.WriteString(from, text)
		_, read := io.ReadFull(to, make([]byte, len(text)))
		client.Must("talk", errors.Join(wrote, read))
	}
	const line = "HTTP/1.1 200 OK\r\n"
	const many, each, segment = 40, 1000, 1200
	chunks := strings.Repeat(fmt.Sprintf("%x\r\n", each)+strings.Repeat(line, each/len(line)+1)[:each]+"\r\n", many)
	const last = "0\r\n\r\n"
	for n := range len(line) {
		say(out, in, "GET /in/chunks HTTP/1.1\r\nHost: h\r\n\r\n")
		body := chunks
		if n%2 == 0 {
			body += last
		}
		say(in, out, line+"Transfer-Encoding: chunked\r\n\r\n")
		for at := 0; at < len(body); at += segment + n {
			say(in, out, body[at:min(at+segment+n, len(body))])
		}
		if n%2 != 0 {
			say(in, out, last)
		}
		if n >= len(line)-2 { // one of each kind: rows come once a second
			client.Must("wait for the rows", got.wait(n+1))
		}
	}
	client.Must("close", errors.Join(out.Close(), in.Close()))
	w.stop()
	for i := range got.rows {
		// Chunks that were not copied are counted with their lines.
		if q := &got.rows[i]; q.ResponseBytes < many*each || q.ResponseBytes > uint64(len(chunks)+len(last)) || q.Error != "" {
			t.Errorf("answer %d: got %d bytes, error %q; want %d, and some for the chunks' lines", i, q.ResponseBytes, q.Error, many*each)
		}
	}
	if len(got.rows) != len(line) {
		t.Errorf("got %d rows, want %d", len(got.rows), len(line))
	}
}

// python3 is Debian's: what PATH names first may be a version manager's script, and
// in a guest its many processes take longer to start than all that a test waits for.
const python3 = "/usr/bin/python3"

// TestRequestsOnce: what goes over lo, and from one namespace through a bridge to
// another, is told once, and of Python's server as of any.
func TestRequestsOnce(t *testing.T) {
	need.Root(t)
	lab := netlab.New(t)
	client, server, middle := lab.NetNS("client"), lab.NetNS("server"), lab.NetNS("bridge")
	lab.Veth(client, "eth0", middle, "left")
	lab.Veth(server, "eth0", middle, "right")
	middle.Bridge("br0", "left", "right")
	client.Addr("eth0", clientAddr+"/24")
	server.Addr("eth0", serverAddr+"/24")
	client.Up("lo")
	python := exec.Command(python3, "-m", "http.server", "8000", "--bind", serverAddr)
	python.Dir = t.TempDir()
	server.Start(python)
	client.Must("write a file", os.WriteFile(filepath.Join(python.Dir, "file"), make([]byte, 50_000), 0o600))
	netlab.WaitFor(t, "Python to serve", func() bool {
		conn, err := client.TryDialTCP(serverAddr+":8000", time.Second)
		return err == nil && conn.Close() == nil
	})
	s := openShop(client, "127.0.0.1:8080")
	w, got := watchRequests(t, client, plainOnly()...)
	local := &talker{conn: client.DialTCP("127.0.0.1:8080"), name: "local.example"}
	local.read = bufio.NewReader(local.conn)
	for range 40 {
		client.Must("ask", local.ask(1))
	}
	client.Must("close", local.conn.Close())
	for range 5 {
		client.Exec("curl", "--noproxy", "*", "--silent", "--show-error", "--output", os.DevNull, "http://"+serverAddr+":8000/file")
	}
	w.stop()
	want := s.counts()
	want[asked{"GET", serverAddr + ":8000", "/file", 200, 50_000}] = 5
	if diff := cmp.Diff(want, got.counts(t)); diff != "" {
		t.Errorf("requests (-servers +netfate):\n%s", diff)
	}
}

// TestRequestsJoinedLate: connections that were there before netfate. Of HTTP/1 the
// next request is told, of HTTP/2 that there is one.
func TestRequestsJoinedLate(t *testing.T) {
	need.Root(t)
	client, server := pair(netlab.New(t))
	s := openShop(server, serverAddr+":8080")
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	listener := server.ListenTCP(serverAddr + ":8081")
	second := &http.Server{Handler: s, Protocols: h2c}
	go func() { _ = second.Serve(listener) }() // its error says that it was closed
	defer second.Close()
	one := &talker{conn: client.DialTCP(serverAddr + ":8080"), name: "late.example"}
	one.read = bufio.NewReader(one.conn)
	client.Must("ask", one.ask(1))
	transport := &http.Transport{
		Protocols: h2c,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return client.DialTCP(serverAddr + ":8081"), nil
		},
	}
	two := &http.Client{Transport: transport}
	ask := func() {
		answer, err := two.Get("http://late.example/plain/100/h2")
		client.Must("ask by HTTP/2", err)
		_, err = io.Copy(io.Discard, answer.Body)
		client.Must("read", errors.Join(err, answer.Body.Close()))
	}
	ask()
	before := s.counts()
	w, got := watchRequests(t, client, plainOnly()...)
	for range 5 {
		client.Must("ask", one.ask(1))
		ask()
	}
	client.Must("close", one.conn.Close())
	transport.CloseIdleConnections()
	w.stop()
	want := map[asked]int{}
	for k, n := range s.counts() {
		if n -= before[k]; n > 0 && !strings.HasSuffix(k.Path, "h2") {
			want[k] = n
		}
	}
	if diff := cmp.Diff(want, got.counts(t)); diff != "" {
		t.Errorf("requests (-server +netfate):\n%s", diff)
	}
	if said := w.stderr.String(); !strings.Contains(said, "HTTP/2 connections joined midway") {
		t.Errorf("netfate says nothing of the HTTP/2 connection that it cannot read, but:\n%s", said)
	}
}
