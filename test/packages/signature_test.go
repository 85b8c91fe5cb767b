package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/netfate/netfate/test/need"
)

// TestSignature signs a release and verifies it by the commands of docs/releasing.md, and
// one that somebody has changed.
func TestSignature(t *testing.T) {
	need.Tool(t, "ssh-keygen")
	text, err := os.ReadFile("../../docs/releasing.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`(?m)^(ssh-keygen|sha256sum) .*$`).FindAllString(string(text), -1)
	if len(commands) != 3 {
		t.Fatalf("got %q, want to sign, to verify, to check sums", commands)
	}
	dir := t.TempDir()
	run := func(command string) error {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		t.Logf("%s: %v\n%s", command, err, out)
		return err
	}
	must := func(command string) {
		t.Helper()
		if err := run(command); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
	}
	must("ssh-keygen -q -t ed25519 -N '' -f KEY && ssh-keygen -q -t ed25519 -N '' -f OTHER")
	must(`echo "releases@netfate $(cat KEY.pub)" > allowed_signers`)
	must("echo program > netfate-linux-amd64 && echo other > netfate-linux-arm64 && sha256sum netfate-* > SHA256SUMS && rm netfate-linux-arm64")
	for _, command := range commands {
		must(command)
	}
	verify, sums := commands[1], commands[2]
	change := func(name string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("more\n"); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	change("netfate-linux-amd64")
	if run(sums) == nil {
		t.Error("a program that was changed passes")
	}
	change("SHA256SUMS")
	if run(verify) == nil {
		t.Error("sums that were changed pass")
	}
	must("rm SHA256SUMS.sig && " + strings.Replace(commands[0], "KEY", "OTHER", 1))
	if run(verify) == nil {
		t.Error("a signature of another key passes")
	}
}
