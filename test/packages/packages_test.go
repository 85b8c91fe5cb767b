// Package packages tests netfate's deb and rpm as those who install them meet them: what is
// in them, and what is left of the host's files after an upgrade, a removal and a purge.
//
// The host's own packages are not touched: dpkg and rpm work in directories of the test's.
package packages

import (
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/test/need"
)

// binaryEnv names the netfate that writes what is in the packages beside it; without it the test
// builds one.
const binaryEnv = "NETFATE_BIN"

var whole = flag.Bool("whole", false, "pack netfate itself, which takes long to compress, and not a small program in its place")

// made returns a directory with netfate_1.0.0_amd64.deb and netfate-1.0.0-1.x86_64.rpm, and the
// netfate that they are of.
func made(t *testing.T) (dir, netfate string) {
	t.Helper()
	need.Root(t)
	need.Machine(t, "amd64")
	netfate = os.Getenv(binaryEnv)
	if netfate == "" {
		netfate = need.Command(t, "../../cmd/netfate")
	}
	binary := netfate
	if !*whole {
		var err error
		if binary, err = os.Executable(); err != nil {
			t.Fatal(err)
		}
	}
	dir = t.TempDir()
	output(t, "../../tools/package", dir, "1.0.0", "amd64", binary, netfate)
	return dir, netfate
}

// output runs a program that must not fail.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestPackages makes both once, which takes most of the time, and looks at them.
func TestPackages(t *testing.T) {
	dir, netfate := made(t)
	t.Run("deb", func(t *testing.T) { testDeb(t, netfate, filepath.Join(dir, "netfate_1.0.0_amd64.deb")) })
	t.Run("rpm", func(t *testing.T) { testRPM(t, filepath.Join(dir, "netfate-1.0.0-1.x86_64.rpm")) })
}

// want are files that both have; man pages are beside them.
func want() []string {
	return []string{
		"/etc/netfate/netfate.yaml", "/usr/bin/netfate", "/usr/lib/systemd/system/netfate.service", "/usr/lib/sysusers.d/netfate.conf",
		"/usr/share/bash-completion/completions/netfate", "/usr/share/doc/netfate/changelog.gz", "/usr/share/doc/netfate/third-party.gz",
		"/usr/share/fish/vendor_completions.d/netfate.fish", "/usr/share/man/man1/netfate.1.gz", "/usr/share/man/man1/netfate-map-dump.1.gz",
		"/usr/share/netfate/prometheus/netfate.rules.yml", "/usr/share/netfate/prometheus/netfate.alerts.yml", "/usr/share/netfate/grafana/netfate-fate.json",
	}
}

// host is a directory that dpkg takes for the root of a host.
type host struct {
	t    *testing.T
	root string
}

func newHost(t *testing.T) host {
	t.Helper()
	h := host{t, t.TempDir()}
	for _, dir := range []string{"etc", "run", "usr/lib", "usr/bin", "var/lib/dpkg/info", "var/lib/dpkg/updates"} {
		if err := os.MkdirAll(filepath.Join(h.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.write("var/lib/dpkg/status", "")
	h.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
	h.write("etc/group", "root:x:0:\n")
	h.write("etc/shadow", "root:*:1::::::\n")
	h.write("etc/gshadow", "root:*::\n")
	h.write("usr/bin/other", "of no package")
	h.write("usr/lib/other", "of no package")
	if err := os.Symlink("usr/lib", filepath.Join(h.root, "lib")); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h host) write(name, text string) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(h.root, name)), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.root, name), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h host) read(name string) string {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.root, name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

// dpkg runs it on this root. What the package needs is not installed there: the scripts run
// with the tools of the real host.
func (h host) dpkg(args ...string) {
	h.t.Helper()
	output(h.t, "dpkg", append([]string{"--root=" + h.root, "--force-script-chrootless", "--force-depends"}, args...)...)
}

// files returns every file with what is in it, but for dpkg's own and backups of /etc/passwd.
func (h host) files() map[string]string {
	h.t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(h.root, func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, h.root)
		switch {
		case err != nil:
			return err
		case name == "/var/lib/dpkg":
			return fs.SkipDir
		case d.IsDir():
			found[name] = "directory"
		case d.Type() == fs.ModeSymlink:
			found[name], err = os.Readlink(path)
		case !strings.HasSuffix(name, "-") && !strings.HasSuffix(name, ".lock"):
			var text []byte
			text, err = os.ReadFile(path)
			found[name] = string(text)
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return found
}

// later is the deb as a later version, with another default configuration and a program that is
// small.
func later(t *testing.T, deb, version string, config func(string) string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "deb")
	output(t, "dpkg-deb", "-R", deb, dir)
	edit(t, filepath.Join(dir, "DEBIAN/control"), func(s string) string {
		return strings.Replace(s, "\nVersion: 1.0.0\n", "\nVersion: "+version+"\n", 1)
	})
	edit(t, filepath.Join(dir, "etc/netfate/netfate.yaml"), config)
	edit(t, filepath.Join(dir, "usr/bin/netfate"), func(string) string { return "#!/bin/sh\necho netfate " + version + "\n" })
	made := filepath.Join(filepath.Dir(dir), "netfate.deb")
	output(t, "dpkg-deb", "-b", "-Zgzip", "-z1", dir, made)
	return made
}

func edit(t *testing.T, path string, change func(string) string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(change(string(text))), 0o644); err != nil {
		t.Fatal(err)
	}
}

// testDeb installs it, upgrades it twice, removes it and purges it.
func testDeb(t *testing.T, netfate, deb string) {
	const config, service = "etc/netfate/netfate.yaml", "etc/systemd/system/multi-user.target.wants/netfate.service"
	h := newHost(t)
	before := h.files()

	h.dpkg("-i", deb)
	for _, name := range want() {
		if info, err := os.Lstat(filepath.Join(h.root, name)); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s: got %v, %v, want a file", name, info, err)
		}
	}
	if *whole {
		if got := output(t, filepath.Join(h.root, "usr/bin/netfate"), "version"); !strings.HasPrefix(got, "netfate ") {
			t.Errorf("netfate version: got %q", got)
		}
	}
	if got := output(t, netfate, "serve", "--check", "--config", filepath.Join(h.root, config)); got != "" {
		t.Errorf("the configuration: got %q, want nothing to say", got)
	}
	if got := h.read("etc/passwd"); strings.Count(got, "\nnetfate:") != 1 || !strings.Contains(got, ":/var/lib/netfate:") {
		t.Errorf("got users\n%s\nwant netfate among them", got)
	}
	if _, err := os.Lstat(filepath.Join(h.root, service)); err != nil {
		t.Errorf("the service is not enabled: %v", err)
	}

	// What was written to the file stays, and so does the history. If the default has changed
	// too, dpkg asks, and is told here to keep what there is.
	changed := h.read(config) + "# changed here\n"
	h.write(config, changed)
	h.write("var/lib/netfate/history.duckdb", "rows")
	h.dpkg("-i", later(t, deb, "1.0.1", func(s string) string { return s }))
	h.dpkg("--force-confold", "-i", later(t, deb, "1.1.0", func(s string) string { return s + "# a new default\n" }))
	if got := h.read(config); got != changed {
		t.Errorf("after upgrades, got the configuration\n%s\nwant\n%s", got, changed)
	}
	if got := h.read("usr/bin/netfate"); !strings.Contains(got, "1.1.0") {
		t.Error("the program was not replaced")
	}
	if got := h.read("etc/passwd"); strings.Count(got, "\nnetfate:") != 1 {
		t.Errorf("after upgrades, got users\n%s", got)
	}

	h.dpkg("-r", "netfate")
	if got := h.read(config) + h.read("var/lib/netfate/history.duckdb"); got != changed+"rows" {
		t.Errorf("after removal, got\n%s\nwant configuration and history as they were", got)
	}
	if _, err := os.Lstat(filepath.Join(h.root, "usr/bin/netfate")); err == nil {
		t.Error("after removal the program is there")
	}

	h.dpkg("-P", "netfate")
	after := h.files()
	// These were made for it and are every host's.
	for _, name := range []string{"/etc/systemd", "/etc/systemd/system", "/var/lib/systemd"} {
		delete(after, name)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("after purging it, what is there (-before +after):\n%s", diff)
	}
}

// testRPM lists it, has rpm try an installation, and a shell read its scripts.
func testRPM(t *testing.T, rpm string) {
	listed := strings.Fields(output(t, "rpm", "-qpl", rpm))
	for _, name := range append(want(), "/usr/share/licenses/netfate/LICENSE", "/usr/share/zsh/site-functions/_netfate") {
		if !slices.Contains(listed, name) {
			t.Errorf("%s is not in it", name)
		}
	}
	if got := output(t, "rpm", "-qpc", rpm); got != "/etc/netfate/netfate.yaml\n" {
		t.Errorf("configuration files: got %q", got)
	}
	db := t.TempDir()
	output(t, "rpm", "--root", db, "--initdb")
	output(t, "rpm", "--root", db, "-i", "--test", "--nodeps", rpm)
	for _, script := range []string{"POSTIN", "PREUN", "POSTUN"} {
		cmd := exec.Command("sh", "-n")
		text := output(t, "rpm", "-qp", "--qf", "%{"+script+"}", rpm)
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(text, "netfate.") {
			t.Errorf("%s: %v\n%s\n%s", script, err, out, text)
		}
	}
}
