package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
	"github.com/netfate/netfate/test/web"
)

// asked is what a server's log and netfate both know of a request.
type asked struct {
	Method, Host, Path string
	Status             uint16
	Bytes              uint64 // of the response's body
}

// site is what nginx serves, plain and by TLS, HTTP/1 and HTTP/2.
const site = `
	log_format site '$request_method $host $uri $status $body_bytes_sent $server_protocol';
	access_log LOG site;
	keepalive_requests 1000000;
	server {
		listen 80; listen [::]:80; listen 81 http2; listen 443 ssl http2; listen [::]:443 ssl http2; listen 444 ssl;
		ssl_certificate DIR/cert.pem; ssl_certificate_key DIR/key.pem;
		location / { return 200 "here\n"; }
		location /none { return 404; }
		location /large { return 200 "` + "$request_uri$request_uri$request_uri" + `\n"; }
	}
`

// startSite runs nginx with a certificate of its own.
func startSite(t *testing.T, n *netlab.NetNS) *web.Nginx {
	t.Helper()
	dir := t.TempDir()
	n.Exec("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=shop.example",
		"-keyout", filepath.Join(dir, "key.pem"), "-out", filepath.Join(dir, "cert.pem"))
	return web.StartNginx(n, strings.ReplaceAll(site, "DIR", dir), serverAddr+":80")
}

// requests are the rows of `netfate http --each` of some namespaces.
type requests struct {
	mu   sync.Mutex
	rows []record.Request
}

// watchRequests starts netfate for the requests whose socket is in n.
func watchRequests(t *testing.T, n *netlab.NetNS, args ...string) (*watch, *requests) {
	r := &requests{}
	fields := record.Fields(record.Request{})
	w := startWatch(t, func(row []byte) error {
		var q record.Request
		if err := record.ParseJSON(row, fields, &q); err != nil {
			return err
		}
		if q.NetNS != n.Inode {
			return nil
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.rows = append(r.rows, q)
		return nil
	}, append([]string{"http", "--each"}, args...)...)
	return w, r
}

// plainOnly reads all that is not encrypted: old kernels take long to let go of
// what looks into libraries.
func plainOnly() []string { return []string{"--no-tls", "--budget", "100"} }

// counts adds up the rows by what the log knows, and fails for those that are
// not whole.
func (r *requests) counts(t *testing.T) map[asked]int {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := map[asked]int{}
	broken := 0
	for i := range r.rows {
		q := &r.rows[i]
		if q.Error != "" || q.LatencyMicros == 0 || q.Side != record.Client || q.Comm == "" || q.OneIn != 0 || q.QueryString != "" {
			if broken++; broken < 4 {
				t.Errorf("not a whole request of a client: %+v", *q)
			}
		}
		host := strings.TrimSuffix(q.HostName, ":81") // nginx logs no port
		counts[asked{q.Method, host, q.Path, q.Status, q.ResponseBytes}]++
	}
	return counts
}

// underWay takes out the requests whose client left before it was answered, and returns
// how many there were.
func (r *requests) underWay() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := len(r.rows)
	r.rows = slices.DeleteFunc(r.rows, func(q record.Request) bool { return q.Status == 0 && q.ResponseBytes == 0 })
	return all - len(r.rows)
}

// protocols adds up the rows by what they are spoken in.
func (r *requests) protocols() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := map[string]int{}
	for i := range r.rows {
		counts[fmt.Sprintf("%s tls:%v", r.rows[i].Protocol, r.rows[i].TLS)]++
	}
	return counts
}

// logged adds up the lines of the access log.
func logged(t *testing.T, lines []string) map[asked]int {
	t.Helper()
	counts := map[asked]int{}
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) != 6 {
			t.Fatalf("line of the access log: got %q, want six fields", line)
		}
		status, err := strconv.ParseUint(f[3], 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		size, err := strconv.ParseUint(f[4], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		counts[asked{f[0], f[1], f[2], uint16(status), size}]++
	}
	return counts
}

// TestRequestsOfNginx floods nginx from 16 connections, pipelined, over IPv4 and
// IPv6, and asks with curl: what netfate tells is what nginx logs.
func TestRequestsOfNginx(t *testing.T) {
	need.Root(t)
	const connections = 16
	client, server := pair(netlab.New(t))
	client.IPv6()
	server.IPv6()
	client.Addr("eth0", "fd00::1/64")
	server.Addr("eth0", "fd00::2/64")
	nginx := startSite(t, server)
	w, got := watchRequests(t, client, plainOnly()...)
	for _, url := range []string{"http://" + serverAddr, "http://[fd00::2]"} {
		for i := range 5 {
			client.Exec("curl", "--noproxy", "*", "--silent", "--show-error", "--output", os.DevNull,
				"--header", fmt.Sprintf("Host: shop%d.example", i%2), fmt.Sprintf("%s/item/%d?session=%d", url, i%3, i), url+"/none", url+"/large")
		}
	}
	// Each connection pauses, so that the rows of a second fit what waits for a view.
	pause := filepath.Join(t.TempDir(), "pause.lua")
	client.Must("write a script for wrk", os.WriteFile(pause, []byte("function delay() return 2 end\n"), 0o600))
	t.Log(web.Wrk(client, "--threads", "1", "--connections", strconv.Itoa(connections), "--duration", "2s", "--script", pause, "http://"+serverAddr+"/flood"))
	w.stop()
	// wrk leaves with requests under way: nginx logs those as it finds out, and that it
	// has answered those whose answers were under way too.
	left := got.underWay()
	told, lines := got.counts(t), []string(nil)
	if left > connections {
		t.Errorf("%d requests had no answer, want at most one on each of %d connections", left, connections)
	}
	if left > 0 {
		told[asked{"GET", serverAddr, "/flood", 200, 5}] += left
	}
	netlab.Poll(5*time.Second, func() bool {
		lines = nginx.Lines(t, 1)
		return cmp.Equal(logged(t, lines), told)
	})
	if diff := cmp.Diff(logged(t, lines), told); diff != "" {
		t.Errorf("requests (-access log +netfate):\n%s", diff)
	}
	t.Logf("%d requests", len(lines))
}

// TestRequestsAreSampled floods nginx with little CPU time for netfate: it
// tells fewer requests, whole ones, and for how many each stands.
func TestRequestsAreSampled(t *testing.T) {
	need.Root(t)
	need.Time(t)
	client, server := pair(netlab.New(t))
	nginx := startSite(t, server)
	w, got := watchRequests(t, client, "--no-tls", "--budget", "0.2")
	t.Log(web.Wrk(client, "--threads", "1", "--connections", "16", "--duration", "8s", "http://"+serverAddr+"/flood"))
	lines := nginx.Lines(t, 1)
	w.stop()
	var stands, sampled, broken int
	for i := range got.rows {
		q := &got.rows[i]
		if q.Error != "" || q.LatencyMicros == 0 || q.Status != 200 || q.ResponseBytes != 5 {
			if broken++; broken < 4 {
				t.Errorf("not a whole request: %+v", *q)
			}
		}
		if q.OneIn > 1 {
			sampled++
		}
		stands += int(max(q.OneIn, 1))
	}
	t.Logf("%d rows, %d of them sampled, stand for %d of %d requests", len(got.rows), sampled, stands, len(lines))
	if sampled == 0 || len(got.rows) > len(lines)*9/10 {
		t.Errorf("got %d rows, %d of them sampled: nothing was shed", len(got.rows), sampled)
	}
	if broken > 0 {
		t.Errorf("%d requests are not whole", broken)
	}
	if stands < len(lines)*7/10 || stands > len(lines)*13/10 {
		t.Errorf("rows stand for %d requests, want about the %d there were", stands, len(lines))
	}
}

// TestRequestsInH2AndTLS asks nginx by HTTP/2 and by TLS, with curl, h2load and
// Python, one by one and many at once: what netfate tells is what nginx logs, each
// request once, though both ends read it, and no handshake beside it.
func TestRequestsInH2AndTLS(t *testing.T) {
	need.Root(t)
	need.Time(t)
	client, server := pair(netlab.New(t))
	client.IPv6()
	server.IPv6()
	client.Addr("eth0", "fd00::1/64")
	server.Addr("eth0", "fd00::2/64")
	nginx := startSite(t, server)
	const many = 3200
	w, got := watchRequests(t, client, "--budget", "100")
	curl := func(args ...string) {
		client.Exec(append([]string{"curl", "--noproxy", "*", "--silent", "--show-error", "--insecure", "--output", os.DevNull}, args...)...)
	}
	curl("--http2-prior-knowledge", "http://"+serverAddr+":81/h2c/1")
	for i := range 3 {
		curl(fmt.Sprintf("https://%s/tls/%d?token=secret", serverAddr, i), "--next", "--insecure", "--silent", "--output", os.DevNull, "https://"+serverAddr+"/none")
		curl(fmt.Sprintf("https://[fd00::2]/tls/%d", i))
		curl("--http1.1", fmt.Sprintf("https://%s/old/%d", serverAddr, i))
		curl("--tls-max", "1.2", fmt.Sprintf("https://%s/older/%d", serverAddr, i))
	}
	client.Exec(python3, "-c", `
import http.client, ssl
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
connection = http.client.HTTPSConnection("`+serverAddr+`", 443, context=context)
for i in range(20):
    connection.request("GET" if i % 2 else "POST", "/python/%d" % (i % 3), body=None if i % 2 else b"x" * 5000)
    connection.getresponse().read()
`)
	client.Exec("h2load", "--requests", fmt.Sprint(many), "--clients", "16", "--max-concurrent-streams", "5", "https://"+serverAddr+"/load")
	client.Exec("h2load", "--requests", fmt.Sprint(many), "--clients", "16", "--max-concurrent-streams", "5", "http://"+serverAddr+":81/load")
	const curls, python = 1 + 3*5, 20
	lines := nginx.Lines(t, curls+python+2*many)
	w.stop()
	if diff := cmp.Diff(logged(t, lines), got.counts(t)); diff != "" {
		t.Errorf("requests (-access log +netfate):\n%s", diff)
	}
	want := map[string]int{"h2 tls:false": 1 + many, "h2 tls:true": 3*4 + many, "http/1.1 tls:true": 3 + python}
	if diff := cmp.Diff(want, got.protocols()); diff != "" {
		t.Errorf("protocols (-want +got):\n%s", diff)
	}
}
