package need

import (
	"os"
	"path/filepath"
	"testing"
)

// Captures returns the directory of the public captures with what tshark reads
// in them, which lie in ../shared/captures beside the checkout and are not part
// of it; without them the test is skipped.
func Captures(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd() // the package's directory
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test's directory")
		}
		dir = filepath.Dir(dir)
	}
	captures := filepath.Join(filepath.Dir(dir), "shared", "captures")
	if _, err := os.Stat(filepath.Join(captures, "MANIFEST.tsv")); err != nil {
		t.Skipf("needs public captures in %s", captures)
	}
	return captures
}
