package kernels

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/test/need"
)

// netfate runs the binary behind other commands and returns what it said.
func netfate(t *testing.T, before []string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	words := append(append([]string{}, before...), os.Getenv(binaryEnv))
	words = append(words, args...)
	cmd := exec.Command(words[0], words[1:]...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), said.String(), cmd.ProcessState.ExitCode()
}

// works tells which capabilities work here.
func works(t *testing.T) map[string]bool {
	t.Helper()
	var all struct{ Capabilities []kernel.Capability }
	if err := json.Unmarshal([]byte(doctor(t, "-o", "json")), &all); err != nil {
		t.Fatal(err)
	}
	ok := map[string]bool{}
	for _, c := range all.Capabilities {
		ok[c.Name] = c.OK
	}
	return ok
}

// TestCommandsNeverFail runs what watches this host on every kernel: it gives
// what the kernel can give, says what that cannot, and nothing else.
func TestCommandsNeverFail(t *testing.T) {
	need.Root(t)
	ok := works(t)
	notes := map[string]bool{ // what is said, and whether it has to be here
		"netfate: note: no reasons of drops (5.17 has them)":        !ok["drop_reasons"],
		"netfate: note: no receiving socket of drops (6.11 has it)": !ok["rx_sk"],
		"netfate: note: tracepoints without types are used":         !ok["tp_btf"],
		"netfate: note: no cgroup2 hierarchy is mounted":            !ok["cgroup_sock"],
		"netfate: note: no iterator over open files (5.8 has it)":   !ok["iter_task_file"],
		"operation not supported":                                   false,
		"invalid argument":                                          false,
	}
	recording, captured := filepath.Join(t.TempDir(), "recording"), filepath.Join(t.TempDir(), "captured")
	for _, args := range [][]string{
		{"drops", "-d", "2s"},
		{"drops", "-d", "2s", "--each", "-o", "json"},
		{"drops", "-d", "2s", "--stack", "udp port 9"},
		{"flows", "-d", "2s", "-o", "csv"},
		{"flows", "-d", "2s", "--by", "process", "tcp or icmp6"},
		{"record", "-d", "2s", "-w", recording},
		{"capture", "-d", "2s", "-w", captured, "udp or tcp"},
		{"capture", "--drops", "-d", "2s", "-w", captured},
	} {
		_, stderr, status := netfate(t, nil, args...)
		if status != 0 {
			t.Errorf("%q: got status %d, want 0:\n%s", args, status, stderr)
		}
		for note, want := range notes {
			if !strings.Contains(args[0], "drops") && strings.Contains(note, "of drops") {
				continue
			}
			if got := strings.Contains(stderr, note); got != want {
				t.Errorf("%q: says %q: got %v, want %v:\n%s", args, note, got, want, stderr)
			}
		}
	}
	for _, args := range [][]string{
		{"drops", "-r", recording}, {"flows", "-r", recording, "-o", "json"}, {"flows", "-r", captured}, {"explain", "NO_SOCKET"}, {"ps"}, {"map", "ls"},
	} {
		if _, stderr, status := netfate(t, nil, args...); status != 0 {
			t.Errorf("%q: got status %d, want 0:\n%s", args, status, stderr)
		}
	}
}

// TestLockedMemory has a limit of 64 kB of locked memory. Kernels before 5.11
// charge maps to it: there netfate raises it if it may, and else says what to do.
func TestLockedMemory(t *testing.T) {
	need.Root(t)
	charged := !works(t)["memcg"]
	limit := []string{"prlimit", "--memlock=65536:65536"}
	if _, stderr, status := netfate(t, limit, "drops", "-d", "1s"); status != 0 {
		t.Errorf("with the right to raise it: got status %d, want 0:\n%s", status, stderr)
	}
	_, stderr, status := netfate(t, append(limit, "setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"), "drops", "-d", "1s")
	const notAllowed = 3
	switch {
	case charged && (status != notAllowed || !strings.Contains(stderr, "RLIMIT_MEMLOCK") || !strings.Contains(stderr, "ulimit -l unlimited")):
		t.Errorf("without: got status %d, want %d and what to do:\n%s", status, notAllowed, stderr)
	case !charged && status != 0:
		t.Errorf("where it does not matter: got status %d, want 0:\n%s", status, stderr)
	}
	if lines := strings.Count(strings.TrimSpace(stderr), "\n") + 1; charged && lines != 1 {
		t.Errorf("got %d lines, want one sentence:\n%s", lines, stderr)
	}
}
