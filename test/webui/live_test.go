package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

const (
	clientAddr = "10.77.0.1"
	serverAddr = "10.77.0.2"
	filtered   = 9999 // a port of UDP that the server's firewall drops
)

// numbers are what a reader finds: bytes that came to the server by process, and
// packets that it lost by reason.
type numbers struct {
	Flows map[string]uint64 `json:"flows"`
	Drops map[string]uint64 `json:"drops"`
}

// TestLive has a browser look at the daemon, which watches two namespaces that talk
// and lose packets, and holds what the page says against the commands.
func TestLive(t *testing.T) {
	need.Root(t)
	need.Capability(t, "drop_reasons")
	lab := netlab.New(t)
	client, server := lab.NetNS("client"), lab.NetNS("server")
	lab.Veth(client, "eth0", server, "eth0")
	client.Addr("eth0", clientAddr+"/24")
	server.Addr("eth0", serverAddr+"/24")
	server.NFT(fmt.Sprintf("table inet guard { chain input { type filter hook input priority 0; udp dport %d drop; }\n}\n", filtered))
	serve(t, server)

	d := startDaemon(t)
	since := time.Now().Truncate(time.Minute) // rows of the history are of whole ones
	d.play(client, server)
	facts := map[string]any{
		"since": since.UTC().Format(time.RFC3339), "until": since.Add(time.Hour).UTC().Format(time.RFC3339),
		"netns": server.Inode, "name": server.Name, "pid": d.cmd.Process.Pid,
	}
	d.settle(client, server)
	var seen numbers
	defer func() {
		if t.Failed() {
			t.Logf("netfate says:\n%s", d.said())
		}
	}()
	_, text, _ := strings.Cut(browse(t, "live", d.page, facts), "numbers {")
	text, _, _ = strings.Cut("{"+text, "\n")
	if err := json.Unmarshal([]byte(text), &seen); err != nil {
		t.Fatalf("read the numbers of the page: %v in %q", err, text)
	}

	// The file is read once the daemon lets go of it.
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Fatalf("SIGTERM: %v; netfate says:\n%s", err, d.said())
	}
	want := numbers{Flows: map[string]uint64{}, Drops: map[string]uint64{}}
	type row struct {
		NetNS   uint32 `json:"netns"`
		Comm    string `json:"comm"`
		Reason  string `json:"reason"`
		BytesIn uint64 `json:"bytes_in"`
		Packets uint64 `json:"packets"`
	}
	for _, r := range command[row](t, d, since, "flows") {
		if r.NetNS == server.Inode && r.BytesIn > 0 {
			want.Flows[r.Comm] += r.BytesIn
		}
	}
	for _, r := range command[row](t, d, since, "drops", "--all") {
		if r.NetNS == server.Inode {
			want.Drops[r.Reason] += r.Packets
		}
	}
	if diff := cmp.Diff(want, seen); diff != "" || want.Drops["NETFILTER_DROP"] == 0 || len(want.Flows) == 0 {
		t.Errorf("the page says otherwise than netfate flows and drops --since (-commands +page):\n%s", diff)
	}
}

// serve answers HTTP and DNS in a namespace until the test ends.
func serve(t *testing.T, server *netlab.NetNS) {
	t.Helper()
	web := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			http.Error(w, "broken", http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintln(w, "here")
	})}
	listener := server.ListenTCP(serverAddr + ":80")
	go func() { _ = web.Serve(listener) }()
	t.Cleanup(func() { _ = web.Close() })
	names := &dns.Server{PacketConn: server.ListenUDP(serverAddr + ":53"), Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetRcode(q, dns.RcodeNameError)
		_ = w.WriteMsg(m)
	})}
	go func() { _ = names.ActivateAndServe() }()
	t.Cleanup(func() { _ = names.Shutdown() })
}

// netfate is a daemon.
type netfate struct {
	t    *testing.T
	cmd  *exec.Cmd
	dir  string
	page string // its address

	mu     sync.Mutex
	stderr bytes.Buffer
}

func (d *netfate) said() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stderr.String()
}

func (d *netfate) history() string { return filepath.Join(d.dir, "history.duckdb") }

// startDaemon starts one, and returns when it watches.
func startDaemon(t *testing.T) *netfate {
	t.Helper()
	d := &netfate{t: t, dir: t.TempDir()}
	config := fmt.Sprintf("interval: 500ms\nhistory: {path: %s}\napi: {listen: ['127.0.0.1:0'], rate: 10000, burst: 10000}\nsensors: {measure: true}\n", d.history())
	path := filepath.Join(d.dir, "netfate.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start("--config", path)
	return d
}

// start starts `netfate serve`, and returns when it listens.
func (d *netfate) start(args ...string) {
	t := d.t
	t.Helper()
	d.cmd = exec.Command(binary(t), append([]string{"serve"}, args...)...)
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listens := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for in := bufio.NewScanner(stderr); in.Scan(); {
			d.mu.Lock()
			fmt.Fprintln(&d.stderr, in.Text())
			d.mu.Unlock()
			if _, addr, ok := strings.Cut(in.Text(), "listening on "); ok {
				listens <- addr
			}
		}
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		<-read
	})
	select {
	case addr := <-listens:
		d.page = "http://" + addr + "/"
	case <-read:
		t.Fatalf("netfate ended:\n%s", d.said())
	case <-time.After(3 * time.Minute):
		t.Fatalf("netfate does not listen:\n%s", d.said())
	}
}

// binary is the netfate to test; without one it is built.
func binary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("NETFATE_BIN"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "netfate")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/netfate/netfate/cmd/netfate").CombinedOutput(); err != nil {
		t.Fatalf("build netfate: %v\n%s", err, out)
	}
	return path
}

// groups asks the API for sums of what is of namespaces, as text.
func (d *netfate) groups(kind string, of ...*netlab.NetNS) string {
	var inodes []string
	for _, n := range of {
		inodes = append(inodes, strconv.FormatUint(uint64(n.Inode), 10))
	}
	query := url.Values{"where": {"netns=" + strings.Join(inodes, "|")}, "since": {"-1h"}}
	w, err := http.Get(d.page + "api/v1/groups/" + kind + "?" + query.Encode())
	if err != nil {
		return ""
	}
	defer w.Body.Close()
	var table struct{ Rows []json.RawMessage }
	if err := json.NewDecoder(w.Body).Decode(&table); err != nil || len(table.Rows) == 0 {
		return ""
	}
	return string(table.Rows[0])
}

// kinds are those of what is played.
func kinds() []string {
	return []string{"flows", "drops", "ledger", "requests", "conns", "queries"}
}

// play has the namespaces talk until the daemon knows of everything: some kernels do
// not look at some moments.
func (d *netfate) play(client, server *netlab.NetNS) {
	d.t.Helper()
	curl := func(rest ...string) {
		_, _ = client.TryExec(append([]string{"curl", "--noproxy", "*", "--silent", "--max-time", "5"}, rest...)...) // the history says what came of it
	}
	missing := ""
	if !netlab.Poll(time.Minute, func() bool {
		curl("http://"+serverAddr+"/orders/[17-26]", "http://"+serverAddr+"/broken")
		curl("http://" + serverAddr + ":81/nobody")
		client.Datagrams(fmt.Sprintf("%s:%d", serverAddr, filtered), 20, 100).Close()
		conn := &dns.Conn{Conn: client.DialUDP("", serverAddr+":53")}
		client.Must("ask", conn.WriteMsg(new(dns.Msg).SetQuestion("nowhere.example.com.", dns.TypeA)))
		client.Must("set a deadline", conn.SetReadDeadline(time.Now().Add(5*time.Second)))
		_, _ = conn.ReadMsg()
		client.Must("close", conn.Close())
		time.Sleep(500 * time.Millisecond)
		// One end of a request tells of it, be it here or there.
		missing = ""
		for _, kind := range kinds() {
			if d.groups(kind, client, server) == "" {
				missing += " " + kind
			}
		}
		return missing == "" && d.groups("drops", server) != ""
	}) {
		d.t.Fatalf("the history has no%s; netfate says:\n%s", missing, d.said())
	}
}

// settle returns when the history has all that was played: what it tells of the minute
// that goes on is ten seconds old at the most.
func (d *netfate) settle(client, server *netlab.NetNS) {
	const late = 12 * time.Second
	last, since := "", time.Now()
	netlab.Poll(time.Minute, func() bool {
		now := ""
		for _, kind := range kinds() {
			now += d.groups(kind, client, server)
		}
		if now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > late
	})
}

// browse plays the stories of a file of ui/tests, and returns what they print.
func browse(t *testing.T, stories, page string, facts map[string]any) string {
	t.Helper()
	text, err := json.Marshal(facts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "tools/ui", stories, page, "--facts", string(text))
	cmd.Dir = "../.."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("browse: %v\n%s", err, out)
	}
	t.Logf("%s", out)
	return string(out)
}

// command returns the rows that a command answers from the history.
func command[R any](t *testing.T, d *netfate, since time.Time, args ...string) (rows []R) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), d.cmd.Path, append(args, "--history", d.history(), "--since", since.UTC().Format(time.RFC3339), "-o", "json")...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	for line := range bytes.Lines(out) {
		var r R
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%q: read %s: %v", args, line, err)
		}
		rows = append(rows, r)
	}
	return rows
}
