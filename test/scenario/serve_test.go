package scenario

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// nobody is the user that the daemon runs as.
const nobody = 65534

// unitCapabilities are those that packaging/systemd/netfate.service gives, without
// CAP_SYS_RESOURCE, which only kernels before 5.11 need and not every root has.
func unitCapabilities() []uintptr {
	return []uintptr{
		unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN, unix.CAP_SYS_PTRACE, unix.CAP_SYS_ADMIN, unix.CAP_SYSLOG, unix.CAP_DAC_READ_SEARCH,
	}
}

// daemon is a netfate that serves.
type daemon struct {
	t      *testing.T
	dir    string
	cmd    *exec.Cmd
	stderr *netlab.Lines
	told   *netlab.Lines // what systemd is told
	client *http.Client
}

// startDaemon starts one as systemd does, and returns when it says that it is ready.
func startDaemon(t *testing.T, config string) *daemon {
	t.Helper()
	d := &daemon{t: t, dir: t.TempDir(), stderr: &netlab.Lines{}, told: &netlab.Lines{}}
	if err := os.Chown(d.dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	d.configure(config)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(d.dir, "notify")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = notify.Close() })
	if err := os.Chmod(filepath.Join(d.dir, "notify"), 0o777); err != nil {
		t.Fatal(err)
	}
	go func() {
		text := make([]byte, 4096)
		for {
			n, err := notify.Read(text)
			if err != nil {
				return
			}
			_, _ = d.told.Write(append(text[:n:n], '\n'))
		}
	}()
	d.cmd = exec.Command(os.Getenv(binaryEnv), "serve", "--config", filepath.Join(d.dir, "netfate.yaml"))
	d.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(d.dir, "notify"), "WATCHDOG_USEC=3000000")
	d.cmd.Stderr = d.stderr
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: append(unitCapabilities(), unix.CAP_NET_RAW)}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cmd.Process.Kill() })
	d.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.socket())
	}}}
	t.Cleanup(d.client.CloseIdleConnections)
	d.hear("READY=1") // in a guest that is emulated the verifier takes a minute
	return d
}

func (d *daemon) socket() string { return filepath.Join(d.dir, "netfate.sock") }

func (d *daemon) configure(config string) {
	d.t.Helper()
	config = fmt.Sprintf(config, "unix:"+d.socket())
	if err := os.WriteFile(filepath.Join(d.dir, "netfate.yaml"), []byte(config), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// hear waits until systemd is told something.
func (d *daemon) hear(what string) {
	d.t.Helper()
	if !netlab.Poll(3*time.Minute, func() bool { return strings.Contains(d.told.String(), what) }) {
		d.t.Fatalf("systemd is not told %s, but %q; netfate says:\n%s", what, d.told, d.stderr)
	}
}

// ask reads an answer of the API.
func (d *daemon) ask(target string, answer any) {
	d.t.Helper()
	w, err := d.client.Get("http://netfate/api/v1" + target)
	if err != nil {
		d.t.Fatalf("%s: %v; netfate says:\n%s", target, err, d.stderr)
	}
	defer w.Body.Close()
	if err := json.NewDecoder(w.Body).Decode(answer); err != nil || w.StatusCode != http.StatusOK {
		d.t.Fatalf("%s: got %d, %v", target, w.StatusCode, err)
	}
}

// TestServe runs the daemon as its own user, has two namespaces talk, and asks it.
func TestServe(t *testing.T) {
	need.Root(t)
	need.Time(t)
	before := loaded(t)
	client, server := pair(netlab.New(t))
	var listener net.Listener
	server.Do(func() (err error) {
		listener, err = net.Listen("tcp", serverAddr+":80")
		return err
	})
	web := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "here") })}
	go func() { _ = web.Serve(listener) }()
	defer web.Close()

	const config = "interval: 500ms\nhistory: {path: none}\napi: {listen: [%q]}\nsensors: {measure: true, budget: 1}\n"
	d := startDaemon(t, config)
	d.hear("WATCHDOG=1")
	w, err := d.client.Get("http://netfate/api/v1/events?kinds=requests")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	fetch := func() {
		client.Exec("curl", "--noproxy", "*", "--silent", "--show-error", "http://"+serverAddr+"/first?secret=1")
	}
	type table struct {
		Columns []struct{ Name string }
		Rows    [][]any
	}
	var requests, flows table
	// This host's kernel may not look at one moment; at some other it does.
	if !netlab.Poll(60*time.Second, func() bool {
		fetch()
		time.Sleep(time.Second)
		d.ask("/rows/requests?where=path%3D%2Ffirst&where=host_name%3D"+serverAddr, &requests)
		d.ask("/groups/flows?by=dst_addr,dst_port&where=dst_port%3D80&where=dst_addr%3D"+serverAddr, &flows)
		return len(requests.Rows) > 0 && len(flows.Rows) > 0
	}) {
		t.Fatalf("got %d requests and %d flows of what was fetched; netfate says:\n%s", len(requests.Rows), len(flows.Rows), d.stderr)
	}
	if i := slices.IndexFunc(requests.Columns, func(c struct{ Name string }) bool { return c.Name == "query_string" }); i < 0 || requests.Rows[0][i] != nil {
		t.Errorf("got %v, want no query of a URL", requests.Rows[0])
	}
	in := bufio.NewReader(w.Body)
	for event := ""; !strings.HasPrefix(event, "event: requests"); {
		if event, err = in.ReadString('\n'); err != nil {
			t.Fatalf("read events: %v", err)
		}
	}
	status := d.checkStatus()
	t.Logf("netfate costs %s", status)
	d.checkPrograms()

	d.configure("interval: 500ms\nhistory: {path: none}\napi: {listen: [%q], rate: 99}\nsensors: {measure: true, budget: 0.5}\n")
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	netlab.WaitFor(t, "the new configuration", func() bool {
		return strings.Contains(d.stderr.String(), "taken over: api.rate") && strings.Contains(d.stderr.String(), "need a restart: sensors.budget")
	})
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: got %v; netfate says:\n%s", err, d.stderr)
	}
	d.hear("STOPPING=1")
	if _, err := os.Stat(d.socket()); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}

	dir := t.TempDir()
	if err := errors.Join(os.Chown(dir, nobody, nobody), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	killed := startDaemon(t, "history: {path: "+filepath.Join(dir, "history.duckdb")+"}\napi: {listen: [%q]}\n"+
		"sensors: {drops: false, conns: false, queries: false, requests: false, tls: false, names: false}\n")
	killed.checkConfined()
	if err := killed.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := killed.cmd.Wait(); err == nil {
		t.Error("got exit code 0 from a daemon that was killed")
	}
	var left []string
	netlab.Poll(30*time.Second, func() bool {
		left = slices.DeleteFunc(loaded(t), func(s string) bool { return slices.Contains(before, s) })
		return len(left) == 0
	})
	if len(left) > 0 {
		t.Errorf("got %q in the kernel after SIGTERM and kill -9, want nothing", left)
	}
}

// checkPrograms checks that what is left of the daemon's privileges is enough to list
// BPF programs and who holds them.
func (d *daemon) checkPrograms() {
	d.t.Helper()
	var found struct {
		Programs []struct {
			Name     string
			Attached []struct{ Where string }
			Owners   []struct{ PID int }
		}
		Maps   []struct{ Name string }
		Missed []string
	}
	d.ask("/programs", &found)
	for _, p := range found.Programs {
		if p.Name == "kfree_skb" && len(p.Attached) == 1 && len(p.Owners) == 1 && p.Owners[0].PID == d.cmd.Process.Pid && len(found.Maps) > 0 {
			return
		}
	}
	d.t.Errorf("got %+v, want the daemon's kfree_skb, attached and held by it, and maps", found)
}

// checkConfined checks that all threads of the daemon and of its history's process are
// confined, and that this one can be started anew.
func (d *daemon) checkConfined() {
	d.t.Helper()
	var status struct {
		Confined struct{ Daemon, History []string }
	}
	netlab.WaitFor(d.t, "the status to say what confines it", func() bool {
		d.ask("/status", &status)
		return len(status.Confined.Daemon) > 0 && len(status.Confined.History) > 0
	})
	filtered := func(pid int) {
		d.t.Helper()
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		if err != nil || len(tasks) == 0 {
			d.t.Errorf("got no threads of %d, %v", pid, err)
		}
		for _, task := range tasks {
			text, err := os.ReadFile(task)
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
				continue // it has ended
			}
			if err != nil || !strings.Contains(string(text), "\nSeccomp:\t2\n") || !strings.Contains(string(text), "\nNoNewPrivs:\t1\n") {
				d.t.Errorf("got %v, %s, want a filter of system calls", err, text)
			}
		}
	}
	answers := func() bool { return d.query(d.t.Context(), "SELECT count(*) FROM flows") == http.StatusOK }
	netlab.WaitFor(d.t, "the history to answer", answers)
	first := netlab.Children(d.cmd.Process.Pid)
	if len(first) != 1 {
		d.t.Fatalf("got children %d, want the history's process; netfate says:\n%s", first, d.stderr)
	}
	filtered(d.cmd.Process.Pid)
	filtered(first[0])
	if err := syscall.Kill(first[0], syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
	var next []int
	netlab.WaitFor(d.t, "another process to have the history", func() bool {
		next = netlab.Children(d.cmd.Process.Pid)
		return len(next) == 1 && next[0] != first[0] && answers()
	})
	filtered(next[0])
	if text := d.stderr.String(); strings.Contains(text, "not filtered") || strings.Contains(text, "cannot be written") {
		d.t.Errorf("netfate says:\n%s", text)
	}
}

// checkStatus checks that all sensors are there, and what is left of the daemon's
// privileges; it returns what they cost.
func (d *daemon) checkStatus() string {
	d.t.Helper()
	var status struct {
		Sensors []struct {
			Name     string
			Programs int
			Events   *uint64
			Memory   uint64 `json:"memory_bytes"`
		}
		Process struct {
			RSS uint64 `json:"rss_bytes"`
		}
	}
	ran := false
	netlab.Poll(30*time.Second, func() bool { // costs are measured each few seconds
		d.ask("/status", &status)
		ran = slices.ContainsFunc(status.Sensors, func(s struct {
			Name     string
			Programs int
			Events   *uint64
			Memory   uint64 `json:"memory_bytes"`
		},
		) bool {
			return s.Events != nil
		})
		return ran
	})
	var names []string
	for _, s := range status.Sensors {
		names = append(names, s.Name)
		if s.Programs == 0 || s.Memory == 0 {
			d.t.Errorf("got %+v, want programs and memory", s)
		}
	}
	for _, want := range []string{"owners", "drops", "flows", "conns", "queries", "requests"} {
		if !slices.Contains(names, want) {
			d.t.Errorf("got sensors %q, want %s; netfate says:\n%s", names, want, d.stderr)
		}
	}
	if !ran || status.Process.RSS == 0 {
		d.t.Errorf("got %+v, want what the programs cost", status)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	var want uint64
	for _, c := range unitCapabilities() {
		want |= 1 << c
	}
	for line := range strings.Lines(string(text)) {
		var got uint64
		if _, err := fmt.Sscanf(line, "CapPrm: %x", &got); err == nil && got != want {
			d.t.Errorf("got capabilities %x, want %x: what watching needs, and not CAP_NET_RAW", got, want)
		}
	}
	return fmt.Sprintf("%+v", status)
}
