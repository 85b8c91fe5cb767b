package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// without runs a program in a mount namespace of its own that has neither tracefs nor
// bpffs: nothing of the daemon may stand on them.
const without = `
	for at in /sys/kernel/tracing /sys/kernel/debug /sys/fs/bpf; do
		while umount -l "$at" 2>/dev/null; do :; done
	done
	exec "$0" "$@"`

// daemon is a netfate that serves.
type daemon struct {
	t      testing.TB // the one that asks
	whole  testing.TB // the one that it lives for
	dir    string
	cmd    *exec.Cmd
	said   *netlab.Lines
	client *http.Client
	ended  chan struct{}
}

// program is the netfate to test; without one it is built.
func program(t testing.TB) string {
	if path := os.Getenv("NETFATE_BIN"); path != "" {
		return path
	}
	return need.Command(t, "../../cmd/netfate")
}

// start starts one in a directory, which may be that of one before, and returns when it
// watches. attr may be nil.
func start(t testing.TB, dir, config string, attr *syscall.SysProcAttr) *daemon {
	t.Helper()
	d := &daemon{t: t, whole: t, dir: dir, said: &netlab.Lines{}, ended: make(chan struct{})}
	path := filepath.Join(dir, "netfate.yaml")
	config = fmt.Sprintf("api: {listen: ['unix:%s'], rate: 100000, burst: 100000}\nidentity: {runtimes: []}\n%s", d.socket(), config)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	d.cmd = exec.Command("unshare", "--mount", "--propagation", "slave", "sh", "-c", without, program(t), "serve", "--config", path)
	d.cmd.Stderr, d.cmd.SysProcAttr = d.said, attr
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait() // how it ended is in its state
		close(d.ended)
	}()
	t.Cleanup(d.kill)
	// No connection is kept, or it would count among the daemon's files.
	d.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.socket())
	}}}
	// In a guest that is emulated the verifier takes a minute.
	if !netlab.Poll(3*time.Minute, func() bool { return strings.Contains(d.said.String(), "listening on ") || d.over() }) || d.over() {
		t.Fatalf("netfate does not listen; it is over: %v; it says:\n%s", d.over(), d.said)
	}
	return d
}

func (d *daemon) socket() string { return filepath.Join(d.dir, "netfate.sock") }

func (d *daemon) pid() int { return d.cmd.Process.Pid }

// lab is a network that lives as long as the daemon, so that no number of a namespace
// means two.
func (d *daemon) lab() *netlab.Lab { return netlab.New(d.whole) }

// over reports whether the process has ended.
func (d *daemon) over() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// kill kills it and waits for its end.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill() // it may have ended
	<-d.ended
}

func (d *daemon) signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatalf("signal %v: %v; netfate says:\n%s", s, err, d.said)
	}
}

// ask reads an answer of the API. An error says that the question was refused.
func (d *daemon) ask(target string, answer any) error {
	w, err := d.client.Get("http://netfate/api/v1" + target)
	if err != nil {
		return err
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil {
		return err
	}
	if w.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", target, w.Status, text)
	}
	return json.Unmarshal(text, answer)
}

// status is what the tests read of GET /status.
type status struct {
	Process struct {
		RSS        uint64 `json:"rss_bytes"`
		Goroutines int
	}
	Store struct {
		Engine, Degraded string
		Dropped          map[string]uint64
	}
	Lost []struct {
		Place, Reason string
		Count         uint64
	}
}

func (d *daemon) status() (s status) {
	d.t.Helper()
	var err error
	if !netlab.Poll(time.Minute, func() bool { err = d.ask("/status", &s); return err == nil }) {
		d.t.Fatalf("ask for the status: %v; netfate says:\n%s", err, d.said)
	}
	return s
}

// skipped is how often the kernel has skipped a program since the start, as netfate says.
func (d *daemon) skipped() (n uint64) {
	for _, l := range d.status().Lost {
		if strings.Contains(l.Reason, "recursion") {
			n += l.Count
		}
	}
	return n
}

// sum is a measure of all rows of a kind that meet the conditions, whatever clock they
// were told by.
func (d *daemon) sum(kind, measure string, where ...string) (n uint64, err error) {
	var answer struct {
		Columns []struct{ Name string }
		Rows    [][]any
	}
	now := time.Now()
	q := url.Values{
		"measure": {measure}, "where": where,
		"since": {now.Add(-4 * time.Hour).UTC().Format(time.RFC3339)}, "until": {now.Add(4 * time.Hour).UTC().Format(time.RFC3339)},
	}
	if err := d.ask("/groups/"+kind+"?"+q.Encode(), &answer); err != nil {
		return 0, err
	}
	for i, c := range answer.Columns {
		for _, row := range answer.Rows {
			if value, ok := row[i].(float64); ok && c.Name == measure {
				n += uint64(value)
			}
		}
	}
	return n, nil
}

// count is a sum that has to become as large as what really happened.
type count struct {
	what          string
	kind, measure string
	where         []string
	want          func() uint64
}

// patience is how long a count may take: a history tells of the minute that goes on each
// 10 s, and a guest is slow.
const patience = time.Minute

// differ returns what is wrong with the counts once they are as they should be, or when
// that has taken too long.
func (d *daemon) differ(counts ...count) (wrong []string) {
	d.t.Helper()
	for _, c := range counts {
		var got, want uint64
		var err error
		if netlab.Poll(patience, func() bool {
			want = c.want()
			got, err = d.sum(c.kind, c.measure, c.where...)
			return err == nil && got == want || d.over()
		}) && !d.over() {
			if want == 0 {
				wrong = append(wrong, c.what+": nothing happened, so that nothing was tried")
			}
			continue
		}
		text := fmt.Sprintf("%s: got %d, want %d (%v)", c.what, got, want, err)
		if d.over() {
			d.t.Fatalf("%s: netfate has ended, %v; it said:\n%s", text, d.cmd.ProcessState, d.said)
		}
		var all struct{ Rows json.RawMessage }
		q := url.Values{"where": c.where[:1], "by": {"netns,ifname,proto"}, "since": {"-1h"}, "limit": {"10"}}
		why := d.ask("/groups/"+c.kind+"?"+q.Encode(), &all)
		wrong = append(wrong, fmt.Sprintf("%s; its status: %+v; netfate says:\n%s\nall of %s: %.4000s %v", text, d.status(), d.said, c.where[0], all.Rows, why))
	}
	return wrong
}
