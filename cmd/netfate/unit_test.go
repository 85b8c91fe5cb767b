package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// TestContainerRights holds what a container gets, in the chart and in what docs/install.md has
// for Docker, to what the unit gives.
func TestContainerRights(t *testing.T) {
	given := func(file, pattern string) []string {
		t.Helper()
		text, err := os.ReadFile("../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			for _, name := range strings.FieldsFunc(m[1], func(r rune) bool { return r == ' ' || r == ',' }) {
				names = append(names, strings.TrimPrefix(name, "CAP_"))
			}
		}
		slices.Sort(names)
		return names
	}
	want := given("packaging/systemd/netfate.service", `(?m)^AmbientCapabilities=(.*)$`)
	if len(want) == 0 {
		t.Fatal("the unit gives no capabilities")
	}
	for file, pattern := range map[string]string{
		"packaging/helm/netfate/templates/daemonset.yaml": `(?m)^ *add: \[(.*)\]$`,
		"docs/install.md": `--cap-add ([A-Z_]+)`,
	} {
		if diff := cmp.Diff(want, given(file, pattern)); diff != "" {
			t.Errorf("%s (-the unit +it):\n%s", file, diff)
		}
	}
}
