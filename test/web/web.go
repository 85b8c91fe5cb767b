// Package web runs the web servers and clients that tests hold netfate against:
// those that `make bin/web` unpacks. For tests only.
package web

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/netfate/netfate/test/netlab"
)

// unpacked is where `make bin/web` puts nginx and wrk, from a package of tests
// and from the project's root.
func unpacked() [2]string { return [2]string{"../../bin/web", "bin/web"} }

// nginxConf has a directory for all that nginx writes, and what its user says.
const nginxConf = `
user root; worker_processes 1; pid %[1]s/nginx.pid; error_log %[1]s/error.log; daemon off;
events { worker_connections 1024; }
http {
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	%[2]s
}
`

// startTime is how long a server may take to listen.
const startTime = 20 * time.Second

// Nginx is a server that runs until the test ends.
type Nginx struct {
	Log string // its access log
	PID int    // of its worker
}

// StartNginx runs nginx in a namespace; config is what its http block has, with
// LOG for the path of its access log. It returns when addr answers.
func StartNginx(n *netlab.NetNS, config, addr string) *Nginx {
	n.TB().Helper()
	dir, err := os.MkdirTemp("", "netfate-nginx-")
	n.Must("make directory", err)
	n.TB().Cleanup(func() { _ = os.RemoveAll(dir) })
	server := &Nginx{Log: filepath.Join(dir, "access.log")}
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(nginxConf, dir, strings.ReplaceAll(config, "LOG", server.Log))
	n.Must("write nginx.conf", os.WriteFile(conf, []byte(text), 0o600))
	nginx := exec.Command(path(n, "usr/sbin/nginx"), "-c", conf, "-p", dir)
	nginx.Stderr = os.Stderr
	n.Start(nginx)
	netlab.WaitFor(n.TB(), "nginx to listen at "+addr, func() bool {
		conn, err := n.TryDialTCP(addr, startTime)
		return err == nil && conn.Close() == nil
	})
	n.TB().Cleanup(func() { // its worker goes with the master only if it is asked
		_ = nginx.Process.Signal(os.Interrupt)
		_, _ = nginx.Process.Wait()
	})
	server.PID = child(n, nginx.Process.Pid)
	return server
}

// child returns the only child of a process, once it has one.
func child(n *netlab.NetNS, pid int) (worker int) {
	n.TB().Helper()
	netlab.WaitFor(n.TB(), "nginx to start its worker", func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
		n.Must("read the children of nginx", err)
		worker, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil
	})
	return worker
}

// Lines returns the lines of the access log, once it has at least so many.
func (s *Nginx) Lines(tb netlab.TB, atLeast int) (lines []string) {
	tb.Helper()
	netlab.WaitFor(tb, "nginx to write its log", func() bool {
		text, err := os.ReadFile(s.Log)
		lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		return err == nil && len(lines) >= atLeast
	})
	return lines
}

// Wrk runs wrk in a namespace and returns what it prints.
func Wrk(n *netlab.NetNS, args ...string) string {
	n.TB().Helper()
	libraries, err := filepath.Glob(path(n, "usr/lib/*-linux-gnu"))
	n.Must("find the libraries of wrk", err)
	return n.Exec(append([]string{"env", "LD_LIBRARY_PATH=" + strings.Join(libraries, ":"), path(n, "usr/bin/wrk")}, args...)...)
}

// path returns that of an unpacked file, or of those that a pattern matches.
func path(n *netlab.NetNS, name string) string {
	n.TB().Helper()
	for _, dir := range unpacked() {
		p, err := filepath.Abs(filepath.Join(dir, name))
		n.Must("find "+name, err)
		if found, err := filepath.Glob(p); err == nil && len(found) > 0 {
			return p
		}
	}
	n.TB().Fatalf("no %s: `make bin/web` unpacks it", name)
	return ""
}
