package scenario

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netfate/netfate/test/netlab"
)

// binaryEnv names the netfate to test; without it the tests build one.
const binaryEnv = "NETFATE_BIN"

func TestMain(m *testing.M) {
	Helper()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 || os.Getenv(binaryEnv) != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "netfate-scenario-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make directory:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // daemons run as another user
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
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

// watch is a netfate that runs while a test makes traffic.
type watch struct {
	t      *testing.T
	cmd    *exec.Cmd
	done   chan error // what reading its rows came to
	stderr *netlab.Lines
	rows   int
}

// startWatch runs `netfate ARGS -o json`, with all there is, and returns when its sensors
// are attached. Each row it prints goes to each, one call at a time.
func startWatch(t *testing.T, each func(row []byte) error, args ...string) *watch {
	t.Helper()
	if args[0] == "drops" || args[0] == "flows" {
		args = append(args, "--all")
	}
	args = append(args, "-o", "json", "--duration", "600s")
	w := &watch{t: t, cmd: exec.Command(os.Getenv(binaryEnv), args...), done: make(chan error, 1), stderr: &netlab.Lines{}}
	w.cmd.Stderr = w.stderr
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("open pipe: %v", err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatalf("start netfate: %v", err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill() })
	go func() {
		scanner := bufio.NewScanner(stdout)
		scanner.Buffer(nil, 1<<20)
		var failed error
		for scanner.Scan() { // to the end, whatever a row says: netfate must not block
			w.rows++
			if err := each(scanner.Bytes()); err != nil && failed == nil {
				failed = fmt.Errorf("row %s: %w", scanner.Bytes(), err)
			}
		}
		if failed == nil {
			failed = scanner.Err()
		}
		w.done <- failed
	}()
	w.await()
	return w
}

// await returns when netfate watches.
func (w *watch) await() {
	w.t.Helper()
	watches := func() bool {
		said := w.stderr.String()
		return strings.Contains(said, "netfate: watching") || strings.Contains(said, "netfate: reading")
	}
	netlab.Poll(30*time.Second, func() bool { return watches() || w.cmd.Process.Signal(syscall.Signal(0)) != nil })
	if !watches() {
		w.t.Fatalf("netfate %v does not watch; it says:\n%s", w.cmd.Args[1:], w.stderr)
	}
}

// pid is netfate's process.
func (w *watch) pid() int { return w.cmd.Process.Pid }

// stop ends netfate as Ctrl-C does and waits until all its rows are read.
func (w *watch) stop() {
	w.t.Helper()
	if err := w.cmd.Process.Signal(os.Interrupt); err != nil {
		w.t.Fatalf("interrupt netfate: %v; it says:\n%s", err, w.stderr)
	}
	select {
	case err := <-w.done:
		if err != nil {
			w.t.Errorf("read netfate's rows: %v", err)
		}
	case <-time.After(60 * time.Second):
		w.t.Fatalf("netfate did not end within 60 s of SIGINT; it says:\n%s", w.stderr)
	}
	if err := w.cmd.Wait(); err != nil {
		w.t.Errorf("got %v from netfate, want exit code 0; it says:\n%s", err, w.stderr)
	}
	w.t.Logf("netfate printed %d rows and said:\n%s", w.rows, w.stderr)
}

// skipped reports whether netfate said that the kernel did not call a program
// that was running already.
func (w *watch) skipped() bool { return strings.Contains(w.stderr.String(), "(recursion)") }

// rss returns netfate's resident memory in bytes, at its highest.
func (w *watch) rss() uint64 {
	w.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.pid()))
	if err != nil {
		w.t.Fatalf("read netfate's status: %v", err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		var kilobytes uint64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); err == nil {
			return kilobytes << 10
		}
	}
	w.t.Fatalf("no VmHWM in netfate's status")
	return 0
}
