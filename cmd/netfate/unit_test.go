package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/netfate/netfate/test/need"
)

// maxExposure is what `systemd-analyze security` may say of the unit, of 100: what is
// left is what watching a host takes, its network, processes and namespaces.
const maxExposure = "45"

// TestUnit has systemd read the unit, as if it were installed, and judge it.
func TestUnit(t *testing.T) {
	analyze := need.Tool(t, "systemd-analyze")
	text, err := os.ReadFile("../../packaging/systemd/netfate.service")
	if err != nil {
		t.Fatal(err)
	}
	// What it starts has to be there.
	unit := filepath.Join(t.TempDir(), "netfate.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/bin/netfate", "/bin/true")), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"verify", "--man=no", unit},
		{"security", "--offline=true", "--no-pager", "--threshold=" + maxExposure, unit},
	} {
		out, err := exec.Command(analyze, args...).CombinedOutput()
		if err != nil || args[0] == "verify" && len(out) > 0 {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
	}
	for _, c := range kept() {
		if !strings.Contains(string(text), strings.ToUpper(c.String())) {
			t.Errorf("the unit does not give %v, which is kept", c)
		}
	}
}
