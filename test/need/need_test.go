package need

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOlder(t *testing.T) {
	f := func(release, other string, want bool) {
		t.Helper()
		if got := older(release, other); got != want {
			t.Errorf("%s before %s: got %v, want %v", release, other, got, want)
		}
	}
	f("5.10.0-32-amd64", "5.17", true)
	f("5.17.0", "5.17", false)
	f("6.1.0-50-amd64", "5.18", false)
	f("6.12.117+deb13-amd64", "6.6", false)
	f("6.2.0", "6.11", true)
	f("7.2-rc1", "7.2", false)
}

func TestExcuse(t *testing.T) {
	why := errors.New("invalid argument")
	if err := (Feature{What: "the future", Since: "99.0"}).Excuse(why); err != nil {
		t.Errorf("got %v, want an excuse for what no kernel has yet", err)
	}
	if err := (Feature{What: "files", Since: "2.6"}).Excuse(why); err == nil {
		t.Error("got an excuse for what every kernel has")
	}
	if err := (Feature{What: "BPF", Options: []string{"CONFIG_BPF_SYSCALL"}}).Excuse(why); err == nil {
		t.Error("got an excuse for what every kernel is built with that runs these tests")
	}
}

// ending records how a test would have ended.
type ending struct {
	testing.TB
	how string
}

func (e *ending) Helper() {}

func (e *ending) Skipf(format string, args ...any) {
	e.how = "skipped: " + fmt.Sprintf(format, args...)
}

func (e *ending) Fatal(args ...any) {
	e.how = "failed: " + fmt.Sprint(args...)
	panic(e)
}

// ends returns how a test would end that finds f missing.
func ends(t *testing.T, f Feature, why error) (how string) {
	e := &ending{TB: t}
	defer func() {
		_ = recover()
		how = e.how
	}()
	f.Skip(e, why)
	return e.how
}

// TestSkip holds that a skip fails where the kernel is newer than the feature.
func TestSkip(t *testing.T) {
	why := errors.New("invalid argument")
	if got := ends(t, Feature{What: "files", Processor: "no such flag"}, why); runtime.GOARCH == "amd64" && !strings.HasPrefix(got, "skipped: ") {
		t.Errorf("a processor that lacks it: got %q, want a skip", got)
	}
	const skipped = "skipped: this kernel lacks the future: invalid argument"
	if got := ends(t, Feature{What: "the future", Since: "99.0"}, why); got != skipped {
		t.Errorf("a kernel that is older: got %q, want %q", got, skipped)
	}
	if got := ends(t, Feature{What: "files", Since: "2.6"}, why); !strings.HasPrefix(got, "failed: ") {
		t.Errorf("a kernel that is newer: got %q, want a failure", got)
	}
	t.Setenv("NETFATE_VM", "")
	if got := ends(t, Feature{What: "files"}, unix.EPERM); !strings.HasPrefix(got, "skipped: ") {
		t.Errorf("a vendor that forbids it: got %q, want a skip", got)
	}
	t.Setenv("NETFATE_VM", "6.12")
	if got := ends(t, Feature{What: "files"}, unix.EPERM); !strings.HasPrefix(got, "failed: ") {
		t.Errorf("a kernel of the matrix that refuses it: got %q, want a failure", got)
	}
}
