package sensor

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	cryptotls "crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/sensor/tls"
	"github.com/netfate/netfate/test/netlab"
)

// tlsHelper tells this program to be an end of TLS connections, or to watch some.
const tlsHelper = "tls"

// speakTLS is what it does then: serve ADDRESS CERTIFICATE KEY answers every
// request with its own body; get URL COUNT makes requests, one connection each;
// watch begins to watch and waits.
func speakTLS(args []string) error {
	switch args[0] {
	case "serve":
		echo := func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }
		listener, err := net.Listen("tcp4", args[1])
		if err != nil {
			return err
		}
		fmt.Println("ready")
		return http.ServeTLS(listener, http.HandlerFunc(echo), args[2], args[3])
	case "get":
		count, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		for i := range count {
			if err := get(fmt.Sprintf("%s/%d", args[1], i)); err != nil {
				return err
			}
		}
	case "watch":
		s, err := tls.New(tls.Config{})
		if err != nil {
			return err
		}
		if err := s.Attach(); err != nil {
			return err
		}
		fmt.Println("ready")
		select {}
	}
	return nil
}

// get makes one request of HTTP/1.1 over a connection that is in a struct of
// somebody's, and reads into the goroutine's stack, which may move meanwhile.
func get(url string) error {
	host, path, _ := strings.Cut(strings.TrimPrefix(url, "https://"), "/")
	var dialer net.Dialer
	dialer.SetMultipathTCP(true) // where the kernel has it: another kind of socket
	tcp, err := dialer.Dial("tcp4", host)
	if err != nil {
		return err
	}
	conn := cryptotls.Client(struct{ net.Conn }{tcp}, &cryptotls.Config{InsecureSkipVerify: true})
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host); err != nil {
		return err
	}
	var buf [2048]byte
	for {
		if _, err := conn.Read(buf[:]); err != nil {
			return nil // the end
		}
	}
}

// tlsFiles are a certificate and its key.
type tlsFiles struct{ dir, cert, key string }

func newTLSFiles(t testing.TB) tlsFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"peer"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	dir := t.TempDir()
	f := tlsFiles{dir, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	check(t, os.WriteFile(f.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	check(t, os.WriteFile(f.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return f
}

// peer is a process at one end.
type peer struct {
	cmd *exec.Cmd
	out bytes.Buffer
}

// startPeer starts a program in a namespace; it reads input.
func startPeer(t testing.TB, n *netlab.NetNS, input string, env []string, argv ...string) *peer {
	t.Helper()
	p := &peer{cmd: exec.Command(argv[0], argv[1:]...)}
	p.cmd.Stdin = strings.NewReader(input)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	n.Start(p.cmd)
	return p
}

func (p *peer) pid() uint32 { return uint32(p.cmd.Process.Pid) }

// wait waits until the program ends, and wants it to be content.
func (p *peer) wait(t testing.TB) {
	t.Helper()
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("%q: %v\n%s", p.cmd.Args, err, p.out.String())
	}
}

// awaitPort waits until something listens at a port of the namespace.
func awaitPort(t testing.TB, n *netlab.NetNS, port int) {
	t.Helper()
	entry := fmt.Appendf(nil, ":%04X 00000000:0000 0A", port)
	netlab.WaitFor(t, fmt.Sprintf("somebody to listen at %d", port), func() bool {
		var all []byte
		n.Do(func() error {
			four, err := os.ReadFile("/proc/thread-self/net/tcp")
			six, _ := os.ReadFile("/proc/thread-self/net/tcp6")
			all = append(four, bytes.ReplaceAll(six, bytes.Repeat([]byte("0"), 32), []byte("00000000"))...)
			return err
		})
		return bytes.Contains(all, entry)
	})
}

// goPeer is this program at an end.
func goPeer(t testing.TB, n *netlab.NetNS, program string, args ...string) *peer {
	t.Helper()
	return startPeer(t, n, "", []string{helperEnv + "=" + tlsHelper}, append([]string{program}, args...)...)
}

// ownProgram is a copy of this program, which nothing watches yet; without its
// symbols if stripped.
func ownProgram(t testing.TB, stripped bool) string {
	t.Helper()
	self, err := os.Executable()
	check(t, err)
	b, err := os.ReadFile(self)
	check(t, err)
	path := filepath.Join(t.TempDir(), "peer")
	check(t, os.WriteFile(path, b, 0o700))
	if stripped {
		if out, err := exec.Command("strip", path).CombinedOutput(); err != nil {
			t.Fatalf("strip: %v\n%s", err, out)
		}
	}
	return path
}

// ownLibrary is a copy of the OpenSSL that is installed, which nothing watches yet.
func ownLibrary(t testing.TB) string {
	t.Helper()
	names, err := filepath.Glob("/usr/lib/*-linux-gnu/libssl.so.*")
	check(t, err)
	if len(names) == 0 {
		t.Fatal("there is no libssl")
	}
	b, err := os.ReadFile(names[0])
	check(t, err)
	path := filepath.Join(t.TempDir(), filepath.Base(names[0]))
	check(t, os.WriteFile(path, b, 0o700))
	return path
}

// nginxTLS answers with what it was asked.
const nginxTLS = `
worker_processes 1; master_process off; pid %[1]s/nginx.pid; error_log %[1]s/error.log; daemon off; user root;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	server { listen 443 ssl http2; ssl_certificate %[2]s; ssl_certificate_key %[3]s; location / { return 200 "$request_uri here\n"; } }
}
`

func startNginx(t *testing.T, n *netlab.NetNS, f tlsFiles) *peer {
	t.Helper()
	conf := filepath.Join(f.dir, "nginx.conf")
	check(t, os.WriteFile(conf, fmt.Appendf(nil, nginxTLS, f.dir, f.cert, f.key), 0o600))
	p := startPeer(t, n, "", nil, "../../bin/web/usr/sbin/nginx", "-c", conf, "-p", f.dir)
	awaitPort(t, n, 443)
	return p
}

// boringPeer has Python drive BoringSSL, as a server of one connection, which answers
// with what it was asked, or as a client.
const boringPeer = `
import ctypes, socket, sys
where, role, cert, key = sys.argv[1:]
ctypes.CDLL(where + "/libcrypto.so.0", ctypes.RTLD_GLOBAL)
lib = ctypes.CDLL(where + "/libssl.so.0")
pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
def function(name, result, *args):
    f = getattr(lib, name)
    f.restype, f.argtypes = result, args
    def call(*args):
        value = f(*args)
        if not value: sys.exit(name + " failed")
        return value
    return call
method = function("TLS_method", pointer)()
ctx = function("SSL_CTX_new", pointer, pointer)(method)
if role == "server":
    function("SSL_CTX_use_certificate_chain_file", number, pointer, text)(ctx, cert.encode())
    function("SSL_CTX_use_PrivateKey_file", number, pointer, text, number)(ctx, key.encode(), 1)
    server = socket.create_server(("10.0.0.2", 4433))
    while True:
        sock = server.accept()[0]
        if sock.recv(1, socket.MSG_PEEK): break # others look whether the port is there
else:
    sock = socket.create_connection(("10.0.0.2", 4433))
ssl = function("SSL_new", pointer, pointer)(ctx)
function("SSL_set_fd", number, pointer, number)(ssl, sock.fileno())
function("SSL_accept" if role == "server" else "SSL_connect", number, pointer)(ssl)
write = function("SSL_write", number, pointer, text, number)
read = function("SSL_read", number, pointer, text, number)
buffer = ctypes.create_string_buffer(4096)
if role == "server":
    n = read(ssl, buffer, 4096)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % n + buffer.raw[:n]
    write(ssl, answer, len(answer))
else:
    ask = b"GET /asked HTTP/1.1\r\nHost: peer\r\n\r\n"
    write(ssl, ask, len(ask))
    print(buffer.raw[:read(ssl, buffer, 4096)])
lib.SSL_shutdown.argtypes = lib.SSL_free.argtypes = [pointer]
lib.SSL_shutdown(ssl)
lib.SSL_free(ssl)
`

func startBoring(t *testing.T, n *netlab.NetNS, role string, f tlsFiles) *peer {
	t.Helper()
	libraries, err := filepath.Glob("../../bin/web/usr/lib/*-linux-gnu/android")
	check(t, err)
	if len(libraries) != 1 {
		t.Fatalf("got %q, want BoringSSL, which make bin/web unpacks", libraries)
	}
	where, err := filepath.Abs(libraries[0])
	check(t, err)
	return startPeer(t, n, "", []string{"LD_LIBRARY_PATH=" + where}, "/usr/bin/python3", "-c", boringPeer, where, role, f.cert, f.key)
}

// pair is a kind of server and a kind of client.
type pair struct {
	name   string
	port   int
	server func(*testing.T, *netlab.NetNS, tlsFiles) *peer
	client func(*testing.T, *netlab.NetNS, int) *peer
	asks   string // is in what the client says
	gets   string // is in what it gets
}

const request = "GET /asked HTTP/1.1\r\nHost: peer\r\nConnection: close\r\n\r\n"

func pairs(t *testing.T) []pair {
	stripped := ownProgram(t, true)
	self, err := os.Executable()
	check(t, err)
	address := func(port int) string { return fmt.Sprintf("10.0.0.2:%d", port) }
	ofGo := func(program string) func(t *testing.T, n *netlab.NetNS, f tlsFiles) *peer {
		return func(t *testing.T, n *netlab.NetNS, f tlsFiles) *peer {
			return goPeer(t, n, program, "serve", address(4433), f.cert, f.key)
		}
	}
	gnutls := func(t *testing.T, n *netlab.NetNS, f tlsFiles) *peer {
		return startPeer(t, n, "", nil, "gnutls-serv", "--echo", "--port", "4433", "--x509certfile", f.cert, "--x509keyfile", f.key)
	}
	opensslServer := func(t *testing.T, n *netlab.NetNS, f tlsFiles) *peer {
		p := &peer{cmd: exec.Command("openssl", "s_server", "-quiet", "-naccept", "1", "-accept", "4433", "-cert", f.cert, "-key", f.key)}
		in, answer, err := os.Pipe() // which stays open, or it would leave before it has read
		check(t, err)
		t.Cleanup(func() { check(t, errors.Join(in.Close(), answer.Close())) })
		_, err = answer.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhere\n")
		check(t, err)
		p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = in, &p.out, &p.out
		n.Start(p.cmd)
		return p
	}
	curl := func(version string) func(t *testing.T, n *netlab.NetNS, port int) *peer {
		return func(t *testing.T, n *netlab.NetNS, port int) *peer {
			return startPeer(t, n, "", nil, "curl", "--noproxy", "*", "-sk", version, "--data", strings.Repeat("body ", 200), "https://"+address(port)+"/asked")
		}
	}
	python := func(t *testing.T, n *netlab.NetNS, port int) *peer {
		return startPeer(t, n, "", nil, "/usr/bin/python3", "-c", fmt.Sprintf(`
import http.client, ssl
c = http.client.HTTPSConnection("10.0.0.2", %d, context=ssl._create_unverified_context())
for i in range(3):
    c.request("POST", "/asked", body="body " * 200)
    c.getresponse().read()
c.close()
`, port))
	}
	client := func(t *testing.T, n *netlab.NetNS, port int) *peer {
		return goPeer(t, n, self, "get", "https://"+address(port), "1")
	}
	page := func(t *testing.T, n *netlab.NetNS, port int) *peer {
		return startPeer(t, n, "", nil, "curl", "--noproxy", "*", "-sk", "https://"+address(port)+"/asked")
	}
	openssl := func(t *testing.T, n *netlab.NetNS, port int) *peer {
		return startPeer(t, n, request, nil, "openssl", "s_client", "-quiet", "-connect", address(port))
	}
	cli := func(t *testing.T, n *netlab.NetNS, port int) *peer {
		return startPeer(t, n, request, nil, "gnutls-cli", "--insecure", "--port", "4433", "10.0.0.2")
	}
	boring := func(t *testing.T, n *netlab.NetNS, f tlsFiles) *peer { return startBoring(t, n, "server", f) }
	boringClient := func(t *testing.T, n *netlab.NetNS, _ int) *peer { return startBoring(t, n, "client", tlsFiles{}) }
	return []pair{
		{"curl, nginx", 443, startNginx, curl("--http1.1"), "POST /asked HTTP/1.1\r\n", "/asked here\n"},
		{"curl, nginx, HTTP2", 443, startNginx, curl("--http2"), "PRI * HTTP/2.0\r\n", "/asked here\n"},
		{"python, nginx", 443, startNginx, python, "POST /asked HTTP/1.1\r\n", "/asked here\n"},
		{"curl, Go, HTTP2", 4433, ofGo(self), curl("--http2"), "PRI * HTTP/2.0\r\n", "body body"},
		{"python, stripped Go", 4433, ofGo(stripped), python, "POST /asked HTTP/1.1\r\n", "body body"},
		{"Go, Go", 4433, ofGo(self), client, "GET /0 HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n"},
		{"curl, openssl", 4433, opensslServer, page, "GET /asked HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n"},
		{"openssl, nginx", 443, startNginx, openssl, request, "/asked here\n"},
		{"boringssl, boringssl", 4433, boring, boringClient, "GET /asked HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n"},
		{"gnutls, gnutls", 4433, gnutls, cli, "GET /asked HTTP/1.1", "GET /asked HTTP/1.1"},
	}
}
