package loader

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// web is where `make test` unpacks nginx and wrk.
const web = "../../bin/web"

// nginxConf serves every path and logs what url_map counts: method, host, path.
const nginxConf = `
worker_processes 1; pid %[1]s/nginx.pid; error_log %[1]s/error.log; daemon off;
events { worker_connections 512; }
http {
	log_format counted '$request_method $host $uri';
	access_log %[1]s/access.log counted;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	server { listen 80; location / { return 200 "here\n"; } }
}
`

// TestNginx has url_map beside nginx, asked by curl and flooded by wrk: XDP and
// tc count exactly what the access log says, in both modes of XDP.
func TestNginx(t *testing.T) {
	need.Root(t)
	if _, err := os.Stat(filepath.Join(web, "usr/sbin/nginx")); err != nil {
		t.Fatal("no nginx and wrk below bin/web: make bin/web unpacks them")
	}
	object := compile(t, filepath.Join(examples, "url_map.bpf.c"))
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t)
			log := startNginx(w)
			w.netfate("run", object, "--dev", "eth0", "--mode", mode, "--pin", "--detach")
			curl := func(args ...string) {
				w.client.Exec(append([]string{"curl", "--noproxy", "*", "--silent", "--show-error", "--output", os.DevNull}, args...)...)
			}
			for i := range 6 {
				curl("--header", fmt.Sprintf("Host: shop%d.example", i%2), fmt.Sprintf("http://10.0.0.2/item/%d?session=%d", i%3, i))
			}
			curl("--data", "money", "http://10.0.0.2/pay")
			w.client.Exec("env", "LD_LIBRARY_PATH="+filepath.Join(abs(t, web), "usr/lib", triplet(t)),
				filepath.Join(abs(t, web), "usr/bin/wrk"), "--threads", "1", "--connections", "8", "--duration", "1s", "http://10.0.0.2/flood")

			var logged, byXDP, byTC counts
			// wrk leaves with requests under way: nginx logs those as it finds out.
			netlab.Poll(patience, func() bool {
				logged = readLog(t, log)
				byXDP, byTC = w.dump(urlPins + "url_map")
				return cmp.Equal(logged, byXDP) && cmp.Equal(logged, byTC)
			})
			if diff := cmp.Diff(logged, byXDP); diff != "" {
				t.Errorf("XDP (-access log +url_map):\n%s", diff)
			}
			if diff := cmp.Diff(logged, byTC); diff != "" {
				t.Errorf("tc (-access log +url_map):\n%s", diff)
			}
			w.netfate("stop", "url_map")
			w.wantNothingLeft()
		})
	}
}

// startNginx starts it in the server's namespace and returns its access log.
func startNginx(w *world) (log string) {
	w.t.Helper()
	dir := w.t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	w.check(os.WriteFile(conf, fmt.Appendf(nil, "user root;"+nginxConf, dir), 0o600))
	nginx := exec.Command(filepath.Join(abs(w.t, web), "usr/sbin/nginx"), "-c", conf, "-p", dir)
	nginx.Stderr = os.Stderr
	w.server.Start(nginx)
	netlab.WaitFor(w.t, "nginx to listen", func() bool {
		conn, err := w.client.TryDialTCP("10.0.0.2:80", patience)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	w.t.Cleanup(func() { // its worker goes with the master only if it is asked
		text, err := os.ReadFile(filepath.Join(dir, "nginx.pid"))
		if err != nil {
			return
		}
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Signal(os.Interrupt)
			}
		}
		_, _ = nginx.Process.Wait()
	})
	return filepath.Join(dir, "access.log")
}

// readLog counts the lines of nginx's access log.
func readLog(t *testing.T, path string) counts {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	logged := counts{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 3 {
			logged[request{f[0], f[1], f[2]}]++
		}
	}
	return logged
}

func abs(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// triplet is the directory of this architecture's libraries.
func triplet(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("gcc", "-dumpmachine").Output()
	if err != nil {
		t.Fatalf("ask gcc for the machine: %v", err)
	}
	return strings.TrimSpace(string(out))
}
