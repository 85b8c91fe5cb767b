package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/api"
	"github.com/netfate/netfate/internal/config"
	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/history/duckdb"
	"github.com/netfate/netfate/internal/history/memory"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
)

// Attacks on the API, over real connections to a server as netfate serve makes it. Those
// that take time are in internal/api, where time is a test's.

const attackToken = "0123456789abcdef0123456789abcdef"

// attacked is such a server, with a token, behind a socket, on loopback, and on all
// addresses with TLS.
type attacked struct {
	t      *testing.T
	socket string
	plain  string // address of the listener on loopback
	secure string // of that with TLS
	roots  *x509.CertPool
	ca     *signer
}

func attack(t *testing.T, change func(*config.Config), batches ...record.Batch) *attacked {
	t.Helper()
	need.Time(t) // and nothing that is of a kernel
	a := &attacked{t: t, socket: filepath.Join(t.TempDir(), "netfate.sock"), ca: newSigner(t, nil, &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})}
	a.roots = x509.NewCertPool()
	a.roots.AddCert(a.ca.cert)
	cfg := config.Default()
	cfg.API.Listen = []string{"unix:" + a.socket, "127.0.0.1:0", "0.0.0.0:0"}
	cfg.API.TokenFile = inFile(t, "token", []byte(attackToken))
	cfg.API.TLS.Cert, cfg.API.TLS.Key = newSigner(t, a.ca, &x509.Certificate{
		DNSNames: []string{"monitor.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}).files(t)
	cfg.API.TLS.ClientCA, _ = a.ca.files(t)
	cfg.API.Rate, cfg.API.Burst = 1e6, 1e6
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	if batches == nil {
		batches = night()
	}
	store := attackedStore(t, batches)
	costs := newCostMeter(store)
	var server *api.Server
	exports, err := newExports(&cfg.Export, costs, func() []record.Lost { return losses(server) })
	if err != nil {
		t.Fatal(err)
	}
	if server, err = newServer(&cfg, api.About{Host: "web1", Version: "1.2.3", Kernel: api.Kernel{Features: []api.Feature{}}}, store, costs, exports); err != nil {
		t.Fatal(err)
	}
	for i := range batches {
		for _, out := range exports.outputs {
			if err := out.Sink.Batch(&batches[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := server.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.plain = server.Addrs()[1].String()
	_, port, err := net.SplitHostPort(server.Addrs()[2].String())
	if err != nil {
		t.Fatal(err)
	}
	a.secure = "127.0.0.1:" + port
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// attackedStore is a store with a few rows, in a file if this netfate can have one.
func attackedStore(t *testing.T, batches []record.Batch) history.Store {
	t.Helper()
	var store history.Store = memory.New(memory.Config{})
	if ok, err := hasHistory(t.TempDir()); err != nil {
		t.Fatal(err)
	} else if ok {
		if store, err = duckdb.Open(duckdb.Config{Path: filepath.Join(t.TempDir(), "history.duckdb")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range batches {
		if err := store.Put(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

func inFile(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// signer is a certificate and its key.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newSigner makes one that by signs, or itself if that is nil.
func newSigner(t *testing.T, by *signer, c *x509.Certificate) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(1), pkix.Name{CommonName: "test"}
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	if by == nil {
		by = &signer{c, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{cert, key}
}

// files writes both.
func (s *signer) files(t *testing.T) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return inFile(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})),
		inFile(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// answered is what a server says.
type answered struct {
	status int
	head   http.Header
	body   string
}

// send sends bytes to an address and reads the answer to them.
func (a *attacked) send(network, addr, text string) (answered, error) {
	c, err := net.Dial(network, addr)
	if err != nil {
		return answered{}, err
	}
	defer c.Close()
	return a.talk(c, text)
}

// talk is send on a connection.
func (a *attacked) talk(c net.Conn, text string) (answered, error) {
	// Much is refused before it is read to its end, which ends the writing.
	go func() { _, _ = io.WriteString(c, text) }()
	method, _, _ := strings.Cut(text, " ")
	r, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return answered{}, err
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // what is there of it before the connection ends
	return answered{r.StatusCode, r.Header, string(body)}, nil
}

// loopback sends a request with headers, one a line, to the listener on loopback.
func (a *attacked) loopback(line string, head ...string) answered {
	a.t.Helper()
	if !slices.ContainsFunc(head, func(h string) bool { return strings.HasPrefix(h, "Host:") }) {
		head = append(head, "Host: localhost")
	}
	got, err := a.send("tcp", a.plain, line+" HTTP/1.1\r\nConnection: close\r\n"+strings.Join(head, "\r\n")+"\r\n\r\n")
	if err != nil {
		a.t.Errorf("%s: %v", line, err)
	}
	return got
}

// network sends a request over TLS, with a client's certificate if there is one.
func (a *attacked) network(line string, mine *signer, head ...string) (answered, error) {
	cfg := &tls.Config{RootCAs: a.roots, ServerName: "monitor.example"}
	if mine != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{mine.cert.Raw}, PrivateKey: mine.key}, nil
		}
	}
	c, err := tls.Dial("tcp", a.secure, cfg)
	if err != nil {
		return answered{}, err
	}
	defer c.Close()
	return a.talk(c, line+" HTTP/1.1\r\nConnection: close\r\nHost: monitor.example\r\n"+strings.Join(append(head, "\r\n"), "\r\n"))
}

// operations are all that the API says it can, as METHOD PATH, and what else answers.
func operations(t *testing.T) (all []string) {
	t.Helper()
	text, err := api.Describe()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]any
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("{kind}", "flows", "{reason}", "NETFILTER_DROP")
	for path, methods := range doc.Paths {
		for method := range methods {
			all = append(all, strings.ToUpper(method)+" "+fill.Replace(path))
		}
	}
	if len(all) < 12 {
		t.Fatalf("got %q, want all operations", all)
	}
	return append(all, "GET /", "GET /metrics", "GET /openapi.json", "HEAD /", "GET /nothing", "POST /")
}

func TestAttackAuthentication(t *testing.T) {
	a := attack(t, nil)
	for _, op := range operations(t) {
		for name, head := range map[string][]string{
			"nothing":             nil,
			"a wrong token":       {"Authorization: Bearer " + strings.Repeat("f", len(attackToken))},
			"half of it":          {"Authorization: Bearer " + attackToken[:16]},
			"more than it":        {"Authorization: Bearer " + attackToken + attackToken},
			"a list":              {"Authorization: Bearer x, Bearer " + attackToken},
			"the second of two":   {"Authorization: Bearer x", "Authorization: Bearer " + attackToken},
			"as a user":           {"Authorization: Basic MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY6"},
			"as a cookie":         {"Cookie: token=" + attackToken + "; Authorization=Bearer " + attackToken},
			"as another header":   {"X-Token: " + attackToken, "X-Api-Key: " + attackToken, "Proxy-Authorization: Bearer " + attackToken},
			"as if from here":     {"X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Forwarded-Proto: unix"},
			"as if proven":        {"X-SSL-Client-Verify: SUCCESS", "X-Client-Cert: yes", "X-Remote-User: root"},
			"as another method":   {"X-HTTP-Method-Override: GET", "Authorization: Negotiate"},
			"an empty credential": {"Authorization:"},
		} {
			if got, err := a.network(op, nil, head...); err != nil || got.status != http.StatusUnauthorized || strings.Contains(got.body, "web1") {
				t.Errorf("%s with %s: got %d, %v, %q; want to be asked for the token", op, name, got.status, err, got.body)
			}
		}
		method, path, _ := strings.Cut(op, " ")
		if got, err := a.network(method+" "+path+"?token="+attackToken+"&access_token="+attackToken, nil); err != nil || got.status != http.StatusUnauthorized {
			t.Errorf("%s with the token in its URL: got %d, %v", op, got.status, err)
		}
	}
	for _, head := range []string{"Authorization: Bearer " + attackToken, "Authorization: Basic bmV0ZmF0ZTowMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg=="} {
		if got, err := a.network("GET /api/v1/status", nil, head); err != nil || got.status != http.StatusOK {
			t.Errorf("%s: got %d, %v, want the status", head, got.status, err)
		}
	}
	if got, err := a.network("GET /healthz", nil); err != nil || got.body != "ok\n" {
		t.Errorf("/healthz: got %q, %v, want no more than ok", got.body, err)
	}

	// Certificates: of the authority for clients, and nothing else.
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	stranger := newSigner(t, nil, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	for name, c := range map[string]struct {
		mine *signer
		want bool
	}{
		"ours":               {newSigner(t, a.ca, &x509.Certificate{ExtKeyUsage: client}), true},
		"of its own":         {newSigner(t, nil, &x509.Certificate{ExtKeyUsage: client}), false},
		"another authority":  {newSigner(t, stranger, &x509.Certificate{ExtKeyUsage: client}), false},
		"a server's":         {newSigner(t, a.ca, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}), false},
		"no longer good":     {newSigner(t, a.ca, &x509.Certificate{ExtKeyUsage: client, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}), false},
		"not good yet":       {newSigner(t, a.ca, &x509.Certificate{ExtKeyUsage: client, NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)}), false},
		"of somebody's else": {&signer{a.ca.cert, stranger.key}, false},
	} {
		got, err := a.network("GET /api/v1/status", c.mine)
		if in := err == nil && got.status == http.StatusOK; in != c.want {
			t.Errorf("a certificate, %s: got %d, %v; want to be let in: %v", name, got.status, err, c.want)
		}
	}
	if _, err := tls.Dial("tcp", a.secure, &tls.Config{RootCAs: a.roots, ServerName: "monitor.example", MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if got, err := a.send("tcp", a.secure, "GET /api/v1/status HTTP/1.1\r\nHost: monitor.example\r\nAuthorization: Bearer "+attackToken+"\r\n\r\n"); err != nil || got.status != http.StatusBadRequest {
		t.Errorf("the token in the clear: got %d, %v, want no answer to it", got.status, err)
	}
}

// TestAttackAuthorisation holds what can be done by whoever may ask: read.
func TestAttackAuthorisation(t *testing.T) {
	a := attack(t, nil)
	known := operations(t)
	for _, op := range known {
		_, path, _ := strings.Cut(op, " ")
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"} {
			if path == "/" || slices.Contains(known, method+" "+path) {
				continue
			}
			if got := a.loopback(method + " " + path); got.status < 400 {
				t.Errorf("%s %s: got %d, %q", method, path, got.status, got.body)
			}
		}
	}
	for _, statement := range []string{
		"DROP TABLE flows", "DELETE FROM flows", "UPDATE flows SET comm = 'x'", "INSERT INTO flows SELECT * FROM flows", "CREATE TABLE x (a INT)",
		"COPY flows TO '/tmp/stolen'", "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM '/etc/passwd'", "SELECT * FROM read_csv('http://127.0.0.1/')",
		"ATTACH '/tmp/other.db'", "INSTALL httpfs", "LOAD httpfs", "SET enable_external_access = true", "PRAGMA enable_external_access", "EXPORT DATABASE '/tmp/stolen'",
		"SELECT 1; DROP TABLE flows", "WITH x AS (SELECT 1) DELETE FROM flows", "SELECT getenv('HOME')", "CALL pragma_version()", "EXPLAIN ANALYZE DELETE FROM flows",
	} {
		body, err := json.Marshal(map[string]string{"sql": statement})
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.send("unix", a.socket, fmt.Sprintf("POST /api/v1/query HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		if err != nil || got.status != http.StatusBadRequest || strings.Contains(got.body, "root:") {
			t.Errorf("%s: got %d, %v, %q; want a refusal", statement, got.status, err, got.body)
		}
	}
	if got := a.loopback("GET /api/v1/groups/flows?by=comm&since=2026-01-01T00:00:00Z&until=2027-01-01T00:00:00Z"); got.status != http.StatusOK || !strings.Contains(got.body, "nginx") {
		t.Errorf("afterwards: got %d, %q; want the flows that were there", got.status, got.body)
	}

	// A socket is for who may write to it.
	need.Root(t)
	for _, dir := range []string{filepath.Dir(a.socket), filepath.Dir(filepath.Dir(a.socket))} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	as := func(uid int) (err error) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // never unlocked: the thread ends, and who it was with it
			_ = unix.Setfsuid(uid)
			_ = unix.Setfsgid(uid)
			var c net.Conn
			if c, err = net.Dial("unix", a.socket); err == nil {
				err = c.Close()
			}
		}()
		<-done
		return err
	}
	if err := as(0); err != nil {
		t.Errorf("root: got %v", err)
	}
	if err := as(65534); !errors.Is(err, unix.EACCES) {
		t.Errorf("another user: got %v, want not to be let in", err)
	}
}

func TestAttackRate(t *testing.T) {
	a := attack(t, func(c *config.Config) { c.API.Rate, c.API.Burst = 1e-9, 5 })
	ask := func(from string, head ...string) answered {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", a.plain)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got, err := a.talk(c, "GET /api/v1/schema HTTP/1.1\r\nHost: localhost\r\n"+strings.Join(append(head, "\r\n"), "\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for i := range 5 {
		if got := ask("127.0.0.1"); got.status != http.StatusOK {
			t.Errorf("question %d: got %d", i, got.status)
		}
	}
	for name, head := range map[string][]string{
		"once more": nil, "as others": {"X-Forwarded-For: 198.51.100.7", "Forwarded: for=198.51.100.7", "X-Real-IP: 198.51.100.7"},
		"with the token": {"Authorization: Bearer " + attackToken}, "with a wrong one": {"Authorization: Bearer " + attackToken + "x"},
	} {
		if got := ask("127.0.0.1", head...); got.status != http.StatusTooManyRequests || got.head.Get("Retry-After") == "" {
			t.Errorf("%s: got %d, Retry-After %q; want to be told when to come again", name, got.status, got.head.Get("Retry-After"))
		}
	}
	if got := ask("127.0.0.2"); got.status != http.StatusOK {
		t.Errorf("another client: got %d", got.status)
	}
	if got, err := a.send("unix", a.socket, "GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil || got.status != http.StatusOK || !strings.Contains(got.body, "requests over the limit") {
		t.Errorf("through the socket: got %d, %v, %q; want them counted", got.status, err, got.body)
	}
}

// TestAttackGuesses holds that guesses at the token are requests that count.
func TestAttackGuesses(t *testing.T) {
	a := attack(t, func(c *config.Config) { c.API.Rate, c.API.Burst = 1e-9, 5 })
	for i := range 5 {
		if got, err := a.network("GET /", nil, fmt.Sprintf("Authorization: Bearer %032d", i)); err != nil || got.status != http.StatusUnauthorized {
			t.Errorf("guess %d: got %d, %v", i, got.status, err)
		}
	}
	if got, err := a.network("GET /", nil, "Authorization: Bearer "+attackToken); err != nil || got.status != http.StatusTooManyRequests {
		t.Errorf("the right one, later: got %d, %v", got.status, err)
	}
}

func TestAttackLimits(t *testing.T) {
	a := attack(t, nil)
	post := "POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	long := strings.Repeat("a", 64<<10)
	for name, c := range map[string]struct {
		text string
		want []int
	}{
		"URL":                   {"GET /" + long + " HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{431}},
		"query":                 {"GET /api/v1/status?x=" + long + " HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{431}},
		"one header":            {"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + long + "\r\n\r\n", []int{431}},
		"a header's name":       {"GET / HTTP/1.1\r\nHost: localhost\r\n" + long + ": x\r\n\r\n", []int{431}},
		"many headers":          {"GET / HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: y\r\n", 16<<10) + "\r\n", []int{431}},
		"headers without end":   {"GET / HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: y\r\n", 64<<10), []int{431}},
		"body":                  {post + fmt.Sprintf("Content-Length: %d\r\n\r\n{\"sql\":\"%s\"}", len(long)+10, long), []int{413}},
		"a body that lies":      {post + "Content-Length: 9223372036854775807\r\n\r\n{}", []int{413}},
		"body in chunks":        {post + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+long[:0x1000]+"\r\n", 32) + "0\r\n\r\n", []int{413}},
		"chunks without end":    {post + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+long[:0x1000]+"\r\n", 32), []int{413}},
		"a long chunk line":     {post + "Transfer-Encoding: chunked\r\n\r\n" + "1;" + long + "\r\nx\r\n0\r\n\r\n", []int{400, 413, 500}},
		"nested":                {post + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", 60<<10, strings.Repeat("[", 60<<10)), []int{400, 422}},
		"packed":                {post + "Content-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + "\x1f\x8b\x08" + strings.Repeat("\x00", 17), []int{400, 415, 422}},
		"two lengths":           {post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", []int{400}},
		"length and chunks":     {post + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{}", []int{400, 422}},
		"a negative length":     {post + "Content-Length: -1\r\n\r\n{}", []int{400}},
		"conditions":            {"GET /api/v1/rows/flows?" + strings.Repeat("where=a=b&", 33) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{400, 422}},
		"kinds":                 {"GET /api/v1/events?kinds=" + strings.Repeat("flows,", 20) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{400, 422}},
		"rows":                  {"GET /api/v1/rows/flows?limit=1000000000 HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{400, 422}},
		"a long time":           {"GET /api/v1/rows/flows?since=" + strings.Repeat("-", 100) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{400, 422}},
		"an unknown parameter":  {"GET /api/v1/status?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{400, 422}},
		"no HTTP":               {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + long[:100] + "\r\n\r\n", []int{400}},
		"HTTP/2 without asking": {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{400, 421, 505}},
		"a NUL in a header":     {"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n", []int{400}},
		"a folded header":       {"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n \x0bb: c\r\n\r\n", []int{400}},
	} {
		got, err := a.send("tcp", a.plain, c.text)
		if errors.Is(err, unix.ECONNRESET) {
			continue // cut off while it spoke, before it could read why
		}
		if err != nil || !slices.Contains(c.want, got.status) {
			t.Errorf("%s: got %d, %v, %.200q; want one of %d", name, got.status, err, got.body, c.want)
		}
	}
	if got := a.loopback("GET /api/v1/status"); got.status != http.StatusOK {
		t.Errorf("afterwards: got %d", got.status)
	}
}

// TestAttackTraversal asks for files beside the page.
func TestAttackTraversal(t *testing.T) {
	a := attack(t, nil)
	page := a.loopback("GET /")
	if page.status != http.StatusOK || !strings.Contains(page.body, "<html") {
		t.Fatalf("got %d, %.100q; want the page", page.status, page.body)
	}
	for _, to := range []string{"etc/passwd", "proc/self/environ", "index.html", "webui.go", "dist/index.html"} {
		for _, up := range []string{
			"../", "..%2f", "%2e%2e/", "%2e%2e%2f", "%252e%252e%252f", "..\\", "..%5c", "....//", "..;/", "%c0%ae%c0%ae/", "..%00/", "./../", "/../", "\u2025/", "..%2f..%2f",
		} {
			for _, from := range []string{"/", "/assets/", "/api/v1/", "/api/v1/explain/", "/api/v1/rows/", "//", "/assets/%2e%2e/"} {
				target := from + strings.Repeat(up, 8) + to
				got, err := a.send("tcp", a.plain, "GET "+target+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
				switch {
				case err != nil:
					t.Errorf("%s: %v", target, err)
				case got.status < 300 && got.body != page.body, got.status >= 500, strings.Contains(got.body, "root:"), strings.Contains(got.body, "PATH="):
					t.Errorf("%s: got %d, %.200q", target, got.status, got.body)
				case got.status/100 == 3 && !strings.HasPrefix(got.head.Get("Location"), "/"), strings.HasPrefix(got.head.Get("Location"), "//"):
					t.Errorf("%s: sent to %s", target, got.head.Get("Location"))
				}
			}
		}
	}
	for _, target := range []string{"file:///etc/passwd", "//etc/passwd", "/%00", "/assets", "/assets/", "/dist/", "/.git/config", "/..", "/.", "*", "http://localhost/../../etc/passwd"} {
		if got := a.loopback("GET " + target); got.status < 300 || got.status >= 500 {
			t.Errorf("%s: got %d, %.200q", target, got.status, got.body)
		}
	}
	if got := a.loopback("GET //evil.example/%2e%2e"); strings.Contains(got.head.Get("Location"), "//evil") {
		t.Errorf("sent to %s", got.head.Get("Location"))
	}
}

// TestAttackCSRF has pages of other origins ask, with what their visitor's browser adds.
func TestAttackCSRF(t *testing.T) {
	a := attack(t, nil)
	statement := `{"sql":"SELECT 1"}`
	post := func(head ...string) answered {
		t.Helper()
		got, err := a.send("tcp", a.plain, fmt.Sprintf("POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n\r\n%s",
			len(statement), strings.Join(head, "\r\n"), statement))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for name, head := range map[string][]string{
		"fetch":          {"Content-Type: application/json", "Origin: http://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"},
		"a form":         {"Content-Type: application/x-www-form-urlencoded", "Origin: http://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"},
		"a form of text": {"Content-Type: text/plain", "Origin: http://evil.example"},
		"parts":          {"Content-Type: multipart/form-data; boundary=x", "Origin: null", "Sec-Fetch-Site: cross-site"},
		"a sandbox":      {"Content-Type: application/json", "Origin: null"},
		"another port":   {"Content-Type: application/json", "Origin: http://localhost:1", "Sec-Fetch-Site: same-site"},
		"another scheme": {"Content-Type: application/json", "Origin: https://localhost", "Sec-Fetch-Site: cross-site"},
		"a longer name":  {"Content-Type: application/json", "Origin: http://localhost.evil.example"},
		"a beacon":       {"Origin: http://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"},
	} {
		if got := post(head...); got.status != http.StatusForbidden {
			t.Errorf("%s: got %d, %q; want to be refused", name, got.status, got.body)
		}
	}
	for _, op := range operations(t) {
		method, _, _ := strings.Cut(op, " ")
		for name, c := range map[string]struct {
			head []string
			want bool
		}{
			"an image":      {[]string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, false},
			"a script":      {[]string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"}, false},
			"fetch":         {[]string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Origin: http://evil.example"}, false},
			"a frame":       {[]string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, false},
			"a link":        {[]string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, true},
			"the page":      {[]string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}, true},
			"the operator":  {[]string{"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, true},
			"no browser":    {nil, true},
			"a preflight":   {[]string{"Origin: http://evil.example", "Access-Control-Request-Method: " + method}, true},
			"a private net": {[]string{"Origin: http://evil.example", "Access-Control-Request-Private-Network: true", "Sec-Fetch-Site: cross-site"}, false},
		} {
			line := op
			if strings.HasSuffix(op, "/events") || method == "POST" {
				continue // one does not end, the others are above
			}
			if name == "a preflight" {
				line = "OPTIONS" + strings.TrimPrefix(op, method)
			}
			got := a.loopback(line, c.head...)
			if in := got.status != http.StatusForbidden; in != c.want {
				t.Errorf("%s by %s: got %d, want it worked on: %v", op, name, got.status, c.want)
			}
			for _, h := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Private-Network", "Set-Cookie"} {
				if v := got.head.Get(h); v != "" {
					t.Errorf("%s by %s: got %s: %s", op, name, h, v)
				}
			}
			if got.head.Get("X-Frame-Options") != "DENY" || got.head.Get("Cross-Origin-Resource-Policy") != "same-origin" || got.head.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s by %s: got %v, want it for nobody else", op, name, got.head)
			}
		}
	}
}

// TestAttackRebinding has a name of somebody else's resolve to this host.
func TestAttackRebinding(t *testing.T) {
	a := attack(t, func(c *config.Config) { c.API.Hosts = []string{"monitor.lan"} })
	for _, op := range append(operations(t), "GET /healthz") {
		for name, head := range map[string][]string{
			"a name":           {"Host: evil.example:7323"},
			"ours in front":    {"Host: localhost.evil.example"},
			"ours behind":      {"Host: evil-localhost"},
			"an address in it": {"Host: 127.0.0.1.evil.example"},
			"forwarded":        {"Host: evil.example", "X-Forwarded-Host: localhost", "Forwarded: host=localhost", "X-Host: localhost"},
			"a user":           {"Host: localhost@evil.example"},
			"nothing":          {"Host:"},
			"a dot":            {"Host: ."},
			"a number":         {"Host: 0x7f000001"},
		} {
			if got := a.loopback(op, head...); got.status != http.StatusMisdirectedRequest && got.status != http.StatusBadRequest || strings.Contains(got.body, "web1") {
				t.Errorf("%s by %s: got %d, %.100q", op, name, got.status, got.body)
			}
		}
	}
	if got := a.loopback("GET http://evil.example/api/v1/status", "Host: localhost"); got.status != http.StatusMisdirectedRequest {
		t.Errorf("the name in the target: got %d", got.status)
	}
	if got := a.loopback("GET /api/v1/status", "Host: localhost", "Host: evil.example"); got.status != http.StatusBadRequest {
		t.Errorf("two names: got %d", got.status)
	}
	for _, ours := range []string{"localhost:7323", "127.0.0.1:7323", "[::1]:7323", "monitor.lan", "MONITOR.lan.:80"} {
		if got := a.loopback("GET /api/v1/status", "Host: "+ours); got.status != http.StatusOK {
			t.Errorf("%s: got %d", ours, got.status)
		}
	}
	// Over TLS too, whoever shows the token.
	c, err := tls.Dial("tcp", a.secure, &tls.Config{RootCAs: a.roots, ServerName: "monitor.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := a.talk(c, "GET /api/v1/status HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer "+attackToken+"\r\n\r\n")
	if err != nil || got.status != http.StatusMisdirectedRequest {
		t.Errorf("over TLS: got %d, %v", got.status, err)
	}
}
