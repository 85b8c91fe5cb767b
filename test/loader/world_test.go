package loader

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// binaryEnv names the netfate to test; without it the tests build one.
const binaryEnv = "NETFATE_BIN"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 || os.Getenv(binaryEnv) != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "netfate-loader-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make directory:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "netfate")
	build := exec.Command("go", "build", "-o", binary, "github.com/netfate/netfate/cmd/netfate")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build netfate: %v\n%s", err, out)
		return 1
	}
	if err := os.Setenv(binaryEnv, binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// world is two hosts and a cable, 10.0.0.1 and fd00::1 at the client, 10.0.0.2
// and fd00::2 at the server, with a BPF file system and a /run that nobody else
// sees: nothing of this host's is touched, and all that is left is in sight.
type world struct {
	t              *testing.T
	client, server *netlab.NetNS
	mounts         string // the mount namespace, as a path
	root           string // its root directory, as seen from outside
}

func newWorld(t *testing.T) *world {
	t.Helper()
	need.Root(t)
	lab := netlab.New(t)
	w := &world{t: t, client: lab.NetNS("client"), server: lab.NetNS("server")}
	w.client.IPv6()
	w.server.IPv6()
	lab.Veth(w.client, "eth0", w.server, "eth0")
	w.client.Addr("eth0", "10.0.0.1/24")
	w.server.Addr("eth0", "10.0.0.2/24")
	w.client.Addr("eth0", "fd00::1/64")
	w.server.Addr("eth0", "fd00::2/64")
	w.mount()
	return w
}

// mount starts a process that holds the mount namespace, until the test ends.
func (w *world) mount() {
	w.t.Helper()
	holder := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-ec", `
		mount -t tmpfs tmpfs /run
		mount -t bpf bpf /sys/fs/bpf
		[ -e /sys/kernel/tracing/trace_pipe ] || mount -t tracefs tracefs /sys/kernel/tracing
		[ -e /sys/kernel/security/lsm ] || mount -t securityfs securityfs /sys/kernel/security
		echo ready
		exec cat`)
	holder.Stderr = os.Stderr
	stdin, err := holder.StdinPipe()
	w.check(err)
	stdout, err := holder.StdoutPipe()
	w.check(err)
	w.check(holder.Start())
	w.t.Cleanup(func() {
		if err := stdin.Close(); err != nil {
			w.t.Error(err)
		}
		if err := holder.Wait(); err != nil {
			w.t.Error(err)
		}
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		w.t.Fatalf("make a mount namespace: got %q, error %v", line, err)
	}
	w.mounts = fmt.Sprintf("/proc/%d/ns/mnt", holder.Process.Pid)
	w.root = fmt.Sprintf("/proc/%d/root", holder.Process.Pid)
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// command is netfate in the world's mount namespace, which takes over the process
// of nsenter.
func (w *world) command(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--mount=" + w.mounts, "--", os.Getenv(binaryEnv)}, args...)...)
}

// try runs netfate at the server to its end.
func (w *world) try(args ...string) (stdout, stderr string, err error) {
	w.t.Helper()
	var out, errs bytes.Buffer
	cmd := w.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	w.server.Start(cmd)
	err = cmd.Wait()
	return out.String(), errs.String(), err
}

// netfate is try for what must succeed.
func (w *world) netfate(args ...string) string {
	w.t.Helper()
	stdout, stderr, err := w.try(args...)
	if err != nil {
		w.t.Fatalf("netfate %s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// running is a netfate that runs at the server.
type running struct {
	*exec.Cmd
	world *world
	ready chan struct{} // closed when it says that it runs
	ended chan struct{} // closed when it says no more
	said  bytes.Buffer  // all of its stderr, to be read when it has ended
}

// start runs netfate and returns when it says that it runs.
func (w *world) start(args ...string) *running {
	w.t.Helper()
	return w.startTo(nil, args...)
}

// startTo is start with a place for what it prints.
func (w *world) startTo(stdout *os.File, args ...string) *running {
	w.t.Helper()
	r := &running{Cmd: w.command(args...), world: w, ready: make(chan struct{}), ended: make(chan struct{})}
	if stdout != nil {
		r.Stdout = stdout
	}
	stderr, err := r.StderrPipe()
	w.check(err)
	w.server.Start(r.Cmd)
	go r.listen(stderr)
	select {
	case <-r.ready:
	case <-r.ended:
		w.t.Fatalf("netfate %s ended: %v\n%s", strings.Join(args, " "), r.wait(), &r.said)
	}
	return r
}

func (r *running) listen(stderr io.Reader) {
	defer close(r.ended)
	in, runs := bufio.NewReader(stderr), false
	for {
		line, err := in.ReadString('\n')
		r.said.WriteString(line)
		if !runs && strings.Contains(line, "running; Ctrl-C ends") {
			runs = true
			close(r.ready)
		}
		if err != nil {
			return
		}
	}
}

// wait waits for its end.
func (r *running) wait() error {
	<-r.ended
	return r.Wait()
}

// kill ends it as a crash would.
func (r *running) kill() {
	r.world.t.Helper()
	r.world.check(r.Process.Kill())
	if err := r.wait(); err == nil {
		r.world.t.Fatal("got no error of a process that was killed")
	}
}

// left lists what is attached to the server's interface, pinned and noted in the
// world: empty where netfate has left nothing.
func (w *world) left() (found []string) {
	w.t.Helper()
	eth0 := w.server.Link("eth0")
	if xdp := eth0.Attrs().Xdp; xdp != nil && xdp.Attached {
		found = append(found, fmt.Sprintf("XDP program %d", xdp.ProgId))
	}
	qdiscs, err := w.server.Netlink().QdiscList(eth0)
	w.check(err)
	for _, q := range qdiscs {
		if q.Type() == "clsact" || q.Type() == "ingress" {
			found = append(found, "qdisc "+q.Type())
		}
	}
	for _, dir := range []string{"/sys/fs/bpf", "/run/netfate"} {
		w.check(filepath.WalkDir(w.root+dir, func(path string, _ os.DirEntry, err error) error {
			rel := strings.TrimPrefix(path, w.root)
			if rel == dir && os.IsNotExist(err) {
				return nil
			}
			if rel == dir || err != nil {
				return err
			}
			// maps.debug and progs.debug are the kernel's; the lock is of all runs.
			if strings.HasSuffix(rel, ".debug") || rel == "/run/netfate/.lock" {
				return nil
			}
			found = append(found, rel)
			return nil
		}))
	}
	return found
}

// wantNothingLeft fails if anything but the allowed is left.
func (w *world) wantNothingLeft(but ...string) {
	w.t.Helper()
	var left []string
	// The kernel takes links off in the background.
	gone := netlab.Poll(patience, func() bool {
		left = slices.DeleteFunc(w.left(), func(s string) bool { return slices.Contains(but, s) })
		return len(left) == 0
	})
	if !gone {
		w.t.Errorf("got left behind:\n%s\nwant nothing", strings.Join(left, "\n"))
	}
}

// filters lists the filters of one direction of the server's interface.
func (w *world) filters(parent uint32) (found []string) {
	w.t.Helper()
	filters, err := w.server.Netlink().FilterList(w.server.Link("eth0"), parent)
	w.check(err)
	for _, f := range filters {
		found = append(found, fmt.Sprintf("%s, priority %d", f.Type(), f.Attrs().Priority))
	}
	return found
}

// dial connects from the client.
func (w *world) dial(address string) (net.Conn, error) {
	return w.client.TryDialTCP(address, patience)
}

// rows parses the lines of a JSON output.
func rows[T any](t *testing.T, text string) (all []T) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	for dec.More() {
		var row T
		if err := dec.Decode(&row); err != nil {
			t.Fatalf("decode %q: %v", text, err)
		}
		all = append(all, row)
	}
	return all
}
