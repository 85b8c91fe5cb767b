package kernels

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/test/need"
)

// TestMain has a netfate to run: the one in $NETFATE_BIN, or one built here.
func TestMain(m *testing.M) { os.Exit(run(m)) }

const binaryEnv = "NETFATE_BIN"

func run(m *testing.M) int {
	if os.Getenv(binaryEnv) != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "netfate-kernels-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "netfate")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/netfate").CombinedOutput(); err != nil {
		panic(string(out))
	}
	if err := os.Setenv(binaryEnv, binary); err != nil {
		panic(err)
	}
	return m.Run()
}

// doctor runs netfate doctor as on a host that has every file system mounted, and
// the limit on locked memory that systemd sets.
func doctor(t *testing.T, args ...string) string {
	t.Helper()
	const mounts = `
		[ -e /sys/kernel/tracing/trace_pipe ] || mount -t tracefs tracefs /sys/kernel/tracing
		[ -e /sys/kernel/security/lsm ] || mount -t securityfs securityfs /sys/kernel/security
		mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
		exec prlimit --memlock=8388608:8388608 "$0" doctor "$@"`
	cmd := exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-ec", mounts, os.Getenv(binaryEnv)}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("netfate doctor: %v\n%s", err, &stderr)
	}
	return stdout.String()
}

// finding is what is on record of a capability.
type finding struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Why  string `json:"why,omitempty"`
}

const (
	reportFile       = "doctor.txt"
	capabilitiesFile = "capabilities.json"
)

// TestDoctor compares what netfate doctor says with what is on record. The
// report is compared whole, but for the patch release; on a host only what the
// kernel decides. A kernel of a newer series than the one on record, as sid
// has at times, must give what that gave.
func TestDoctor(t *testing.T) {
	need.Root(t)
	g := recorded(t)
	report := strings.ReplaceAll(doctor(t), release(t), "RELEASE")
	if os.Getenv("NETFATE_VM") == "" {
		_, report, _ = strings.Cut(report, "\nCapabilities\n")
	}
	g.compare(t, reportFile, report, func(want, got string) {
		if diff := cmp.Diff(want, got); diff != "" && g.strict {
			t.Errorf("doctor says something else than on record; go run ./test/vm/matrix -update SERIES if that is right (-want +got):\n%s", diff)
		}
	})

	var all struct{ Capabilities []kernel.Capability }
	if err := json.Unmarshal([]byte(doctor(t, "-o", "json")), &all); err != nil {
		t.Fatal(err)
	}
	found := make([]finding, 0, len(all.Capabilities))
	for _, c := range all.Capabilities {
		found = append(found, finding{c.Name, c.OK, strings.ReplaceAll(c.Why, release(t), "RELEASE")})
	}
	g.compare(t, capabilitiesFile, asJSON(t, found), func(want, _ string) {
		var then []finding
		fromJSON(t, want, &then)
		works := map[string]bool{}
		for _, f := range found {
			works[f.Name] = f.OK
		}
		for _, f := range then {
			if f.OK && !works[f.Name] {
				t.Errorf("%s: does not work, and did in %s", f.Name, g.dir)
			}
		}
	})
}

// TestNewerKernelsHaveIt holds that what a kernel lacks is newer than it, or
// not built: else the probe is wrong.
func TestNewerKernelsHaveIt(t *testing.T) {
	need.Root(t)
	var all struct{ Capabilities []kernel.Capability }
	if err := json.Unmarshal([]byte(doctor(t, "-o", "json")), &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Capabilities) != len(kernel.Capabilities()) {
		t.Errorf("got %d capabilities, want %d", len(all.Capabilities), len(kernel.Capabilities()))
	}
	for _, c := range all.Capabilities {
		if c.OK || os.Getenv("NETFATE_VM") == "" { // what a vendor left out is the vendor's
			continue
		}
		if c.Name == "lsm" && strings.Contains(c.Why, "boot") || strings.Contains(c.Remedy, "boot") {
			continue // a matter of the command line
		}
		if err := need.Of(t, c.Name).Excuse(errors.New(c.Why)); err != nil {
			t.Error(err)
		}
	}
}
