package scenario

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// TestFirstRequestInTLS: a server and its client have a library that is where
// nobody looks for it. Once the server was found, before anybody asks it, their
// very first request is read.
func TestFirstRequestInTLS(t *testing.T) {
	need.Root(t)
	need.Time(t)
	client, server := pair(netlab.New(t))
	dir := t.TempDir()
	moved := "LD_LIBRARY_PATH=" + dir
	installed, err := filepath.Glob("/usr/lib/*-linux-gnu/libssl.so.*")
	if err != nil || len(installed) == 0 {
		t.Fatalf("find libssl: got %v, %v", installed, err)
	}
	server.Exec("cp", installed[0], dir)
	library := filepath.Join(dir, filepath.Base(installed[0]))
	key, cert := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	server.Exec("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
		"-subj", "/CN=shop.example", "-keyout", key, "-out", cert)
	w, got := watchRequests(t, client, "--budget", "100")
	serve := exec.Command("/usr/bin/python3", "-c", fmt.Sprintf(`
import http.server, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"here\n")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(%q, %q)
server = http.server.HTTPServer((%q, 443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
`, cert, key, serverAddr))
	serve.Env = append(os.Environ(), moved)
	server.Start(serve)
	netlab.WaitFor(t, "the server", func() bool { return strings.Contains(server.Exec("ss", "-Hltn"), ":443") })
	netlab.WaitFor(t, "netfate to find the server", func() bool { return probed(t, serve.Process.Pid, library) })
	client.Exec("env", moved, "curl", "--noproxy", "*", "--silent", "--show-error", "--insecure", "--header", "Host: shop.example",
		"https://"+serverAddr+"/first")
	w.stop()
	want := map[asked]int{{"GET", "shop.example", "/first", 200, 5}: 1}
	if diff := cmp.Diff(want, got.counts(t)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// probed reports whether a process has breakpoints in the code of a file: the
// kernel gives it pages of its own for them.
func probed(t *testing.T, pid int, file string) bool {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		t.Fatal(err)
	}
	code := false
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if f[0] == "Anonymous:" && code && f[1] != "0" {
			return true
		}
		if strings.Contains(f[0], "-") {
			code = f[1] == "r-xp" && len(f) > 5 && f[5] == file
		}
	}
	return false
}
