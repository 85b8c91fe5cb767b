package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const token = "0123456789abcdef0123456789abcdef"

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWhoMayAsk asks through each kind of listener with each kind of credentials.
func TestWhoMayAsk(t *testing.T) {
	file := write(t, "token", token+"\n", 0o600)
	with := func(loopback bool) func(*Config) {
		return func(c *Config) { c.API.TokenFile, c.API.LoopbackToken = file, loopback }
	}
	servers := map[string]*Server{"no token": newServer(t, nil), "token": newServer(t, with(false)), "token on loopback": newServer(t, with(true))}
	credentials := map[string]func(*http.Request){
		"nothing":           func(*http.Request) {},
		"Bearer":            func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) },
		"wrong Bearer":      func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token+"0") },
		"empty Bearer":      func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") },
		"Basic":             func(r *http.Request) { r.SetBasicAuth("anybody", token) },
		"wrong Basic":       func(r *http.Request) { r.SetBasicAuth(token, "x") },
		"another scheme":    func(r *http.Request) { r.Header.Set("Authorization", "Digest "+token) },
		"certificate":       func(r *http.Request) { r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{nil}}} },
		"unknown authority": func(r *http.Request) { r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{nil}} },
	}
	shown := map[string]bool{"Bearer": true, "Basic": true}
	for server, s := range servers {
		for through, name := range map[trust]string{bySocket: "socket", byLoopback: "loopback", byNetwork: "network"} {
			for credential, show := range credentials {
				want := false
				switch through {
				case bySocket:
					want = true
				case byLoopback:
					want = server != "token on loopback" || shown[credential]
				case byNetwork:
					want = credential == "certificate" || server != "no token" && shown[credential]
				}
				for path, open := range map[string]bool{prefix + "/schema": false, "/openapi.json": false, "/": false, "/healthz": true} {
					r := httptest.NewRequest(http.MethodGet, path, nil)
					r.Host = "localhost:7323"
					show(r)
					w := httptest.NewRecorder()
					s.guarded(through).ServeHTTP(w, r)
					if got := w.Code != http.StatusUnauthorized; got != (want || open) {
						t.Errorf("%s, %s, %s at %s: got %d, want to be let in: %v", server, name, credential, path, w.Code, want || open)
					}
				}
			}
		}
	}
}

func TestNames(t *testing.T) {
	s := newServer(t, func(c *Config) { c.API.Hosts = []string{"Monitor.example"} })
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST:7323": true, "127.0.0.1:7323": true, "[::1]:7323": true, "[::1]": true, "192.0.2.7:1": true,
		"monitor.example": true, "monitor.example.:443": true, "evil.example": false, "evil.example:7323": false, "localhost.evil.example": false,
		"": false, "127.0.0.1.evil.example": false, ":7323": false,
	} {
		r := httptest.NewRequest(http.MethodGet, prefix+"/schema", nil)
		r.Host = host
		w := httptest.NewRecorder()
		s.guarded(byLoopback).ServeHTTP(w, r)
		if got := w.Code == 200; got != want {
			t.Errorf("Host %q: got %d, want it to be ours: %v", host, w.Code, want)
		}
	}
	if w := request(s, http.MethodGet, prefix+"/schema", nil); w.Code != 200 {
		t.Errorf("through a socket as example.com: got %d, no browser comes that way", w.Code)
	}
}

func TestOtherOrigins(t *testing.T) {
	s := newServer(t, func(c *Config) { c.Store = speaker{c.Store} })
	for name, c := range map[string]struct {
		head []string
		want int
	}{
		"a command":         {nil, 200},
		"our page":          {[]string{"Sec-Fetch-Site", "same-origin"}, 200},
		"another site":      {[]string{"Sec-Fetch-Site", "cross-site"}, 403},
		"another port":      {[]string{"Sec-Fetch-Site", "same-site"}, 403},
		"an old browser":    {[]string{"Origin", "http://evil.example"}, 403},
		"an old one, ours":  {[]string{"Origin", "http://example.com"}, 200},
		"a form's content":  {[]string{"Content-Type", "text/plain", "Sec-Fetch-Site", "cross-site"}, 403},
		"content of a form": {[]string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
	} {
		head := append([]string{"Content-Type", "application/json"}, c.head...)
		w := request(s, http.MethodPost, prefix+"/query", strings.NewReader(`{"sql":"SELECT 1"}`), head...)
		if w.Code != c.want {
			t.Errorf("%s: got %d, %s; want %d", name, w.Code, w.Body, c.want)
		}
	}
	w := request(s, http.MethodGet, prefix+"/schema", nil, "Origin", "http://evil.example")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestRate(t *testing.T) {
	s := newServer(t, func(c *Config) { c.API.Rate, c.API.Burst = 1e-9, 3 })
	ask := func(addr string) int {
		r := httptest.NewRequest(http.MethodGet, "/healthz", nil)
		r.Host, r.RemoteAddr = "localhost", addr
		w := httptest.NewRecorder()
		s.guarded(byNetwork).ServeHTTP(w, r)
		return w.Code
	}
	for _, addr := range []string{"192.0.2.1:1", "192.0.2.1:2", "[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:3", "[2001:db8:0:0:ffff::]:1"} {
		if got := ask(addr); got != 200 {
			t.Errorf("%s: got %d", addr, got)
		}
	}
	for _, addr := range []string{"192.0.2.1:4", "[2001:db8::3]:1"} {
		if got := ask(addr); got != http.StatusTooManyRequests {
			t.Errorf("%s once more: got %d, want to be told", addr, got)
		}
	}
	if got := ask("192.0.2.2:1"); got != 200 {
		t.Errorf("another client: got %d", got)
	}
	if list := s.lost.list(); len(list) != 1 || list[0].Count != 2 {
		t.Errorf("got %v, want two counted", list)
	}
}

func TestReload(t *testing.T) {
	path := write(t, "token", token, 0o600)
	s := newServer(t, func(c *Config) { c.API.TokenFile, c.API.LoopbackToken = path, true })
	ask := func(token string) int {
		r := httptest.NewRequest(http.MethodGet, prefix+"/schema", nil)
		r.Host = "new.example"
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		s.guarded(byLoopback).ServeHTTP(w, r)
		return w.Code
	}
	if got := ask(token); got != http.StatusMisdirectedRequest {
		t.Errorf("before: got %d", got)
	}
	next := s.cfg.API
	next.Hosts = []string{"new.example"}
	other := strings.Repeat("x", minToken)
	if err := os.WriteFile(path, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(next); err != nil {
		t.Fatal(err)
	}
	if ask(token) != http.StatusUnauthorized || ask(other) != 200 {
		t.Errorf("after: got %d for the old token, %d for the new one", ask(token), ask(other))
	}
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"short": {"abc", 0o600, "a token of 3 bytes"}, "readable": {token, 0o604, "everybody may use"}, "long": {strings.Repeat("x", maxToken+1), 0o600, "a token of"},
	} {
		next.TokenFile = write(t, "token", c.text, c.mode)
		if err := s.Reload(next); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	if ask(other) != 200 {
		t.Error("after a fault what was before does not hold")
	}
}

// authority makes certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{}
	a.cert, a.key = a.issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) issue(t *testing.T, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	c.Subject = pkix.Name{CommonName: "test"}
	parent, signer := c, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// files writes a certificate and its key.
func files(t *testing.T, cert *x509.Certificate, key *ecdsa.PrivateKey) (certFile, keyFile string) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})), 0o600),
		write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), 0o600)
}

// outside is an address of this host that is not loopback; RFC 5737's would have to be
// added.
func outside(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p, ok := a.(*net.IPNet); ok && p.IP.To4() != nil && !p.IP.IsLoopback() {
			return p.IP.String()
		}
	}
	return "0.0.0.0" // all there are
}

// TestListeners serves a socket, loopback and a network with TLS, and asks each.
func TestListeners(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue(t, &x509.Certificate{DNSNames: []string{"monitor.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	clientCert, clientKey := ca.issue(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	dir := t.TempDir()
	socket := filepath.Join(dir, "new", "netfate.sock")
	s := newServer(t, func(c *Config) {
		c.API.Listen = []string{"unix:" + socket, "127.0.0.1:0", outside(t) + ":0"}
		c.API.TLS.Cert, c.API.TLS.Key = files(t, cert, key)
		c.API.TLS.ClientCA, _ = files(t, ca.cert, ca.key)
		c.API.TokenFile = write(t, "token", token, 0o600)
	})
	stop := serve(t, s)
	defer stop()
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	ask := func(l int, url string, certs []tls.Certificate, head string) (int, error) {
		addr := s.Addrs()[l]
		tr := &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, addr.Network(), addr.String())
			},
			TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "monitor.example", Certificates: certs},
		}
		defer tr.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+prefix+"/schema", nil)
		if err != nil {
			t.Fatal(err)
		}
		if head != "" {
			r.Header.Set("Authorization", head)
		}
		w, err := tr.RoundTrip(r)
		if err != nil {
			return 0, err
		}
		return w.StatusCode, w.Body.Close()
	}
	mine := []tls.Certificate{{Certificate: [][]byte{clientCert.Raw}, PrivateKey: clientKey}}
	for name, c := range map[string]struct {
		l     int
		url   string
		certs []tls.Certificate
		head  string
		want  int
	}{
		"socket":            {0, "http://netfate", nil, "", 200},
		"loopback":          {1, "http://localhost", nil, "", 200},
		"loopback, renamed": {1, "http://evil.example", nil, "", 421},
		"TLS, nothing":      {2, "https://monitor.example", nil, "", 401},
		"TLS, token":        {2, "https://monitor.example", nil, "Bearer " + token, 200},
		"TLS, certificate":  {2, "https://monitor.example", mine, "", 200},
		"TLS, no TLS":       {2, "http://monitor.example", nil, "Bearer " + token, 400},
		"TLS, renamed":      {2, "https://evil.example", mine, "", 421},
	} {
		if got, err := ask(c.l, c.url, c.certs, c.head); got != c.want {
			t.Errorf("%s: got %d, %v; want %d", name, got, err, c.want)
		}
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("got mode %v, %v; want 0660", info.Mode(), err)
	}
	if err := newServer(t, func(c *Config) { c.API.Listen = []string{"unix:" + socket} }).Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "another netfate serve") {
		t.Errorf("a second one: got %v, want to be told", err)
	}
	stop()
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("after the end: got %v, want no socket", err)
	}
}

// serve listens and serves until the function that it returns is called, which may
// be more than once.
func serve(t *testing.T, s *Server) (stop func()) {
	t.Helper()
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	return func() {
		cancel()
		if err, ok := <-done; ok {
			close(done)
			if err != nil {
				t.Error(err)
			}
		}
	}
}

// TestSocketsInTheWay begins where a daemon was killed, and where something else is.
func TestSocketsInTheWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "netfate.sock")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	listen := func(change func(*Config)) error {
		s := newServer(t, change)
		err := s.Listen(t.Context())
		for _, l := range s.listens {
			_ = l.Close()
		}
		return err
	}
	here := func(c *Config) { c.API.Listen = []string{"unix:" + path} }
	if err := listen(here); err != nil {
		t.Errorf("after a daemon that was killed: got %v", err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := listen(here); err == nil {
		t.Error("on a file: got no error")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file: got %q, %v", text, err)
	}
	for name, change := range map[string]func(*Config){
		"no group":      func(c *Config) { c.API.Listen, c.API.SocketGroup = []string{"unix:" + path + "2"}, "no-such-group" },
		"no TLS":        func(c *Config) { c.API.Listen = []string{"0.0.0.0:0"} },
		"taken":         func(c *Config) { c.API.Listen = []string{"unix:" + path + "3", "unix:" + path + "3"} },
		"not an entry":  func(c *Config) { c.API.Listen = []string{"here"} },
		"no such place": func(c *Config) { c.API.Listen = []string{"unix:" + path + "/below/a/file"} },
	} {
		if err := listen(change); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if _, err := os.Stat(path + "3"); !os.IsNotExist(err) {
		t.Errorf("one of two sockets stays: %v", err)
	}
}
