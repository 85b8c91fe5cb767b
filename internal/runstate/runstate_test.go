package runstate

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if got, err := List(dir); len(got) != 0 || err != nil {
		t.Errorf("list nothing: got %v, %v", got, err)
	}
	b := &State{
		Name: "b", Object: "/b.o", PID: 7, PIDStart: 9, Since: time.Unix(1, 0).UTC(), Until: time.Unix(2, 0).UTC(), Pins: "/pins",
		Programs: []Program{{Name: "p", Section: "xdp", ID: 3, Where: "eth0"}}, Maps: []Map{{Name: "m", ID: 4, Pin: "/pins/maps/m"}},
		Filters: []Filter{{NetNS: 1, IfName: "eth0", IfIndex: 2, Direction: "ingress", Handle: 5, Priority: 6, ProgramID: 3, Qdisc: true}},
	}
	a := &State{Name: "a", Since: time.Unix(1, 0).UTC()}
	for _, s := range []*State{b, a, b} {
		if err := Write(dir, s); err != nil {
			t.Fatal(err)
		}
	}
	got, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*State{a, b}, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	for range 2 {
		if err := Remove(dir, "b"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Read(dir, "b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("read what was removed: got %v, want %v", err, ErrNotFound)
	}
}

// TestBroken tells of a file that cannot be read and keeps the others.
func TestBroken(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, &State{Name: "good"}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"bad.json": "{", "note.txt": "", ".new-1": "{"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := List(dir)
	if len(got) != 1 || err == nil || !strings.Contains(err.Error(), "state of bad") {
		t.Errorf("got %d states and %v, want one and an error about bad", len(got), err)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"url_map": true, "a.b": true, "": false, "..": false, ".x": false, "a/b": false, "a b": false, "a\x7f": false, strings.Repeat("x", 129): false,
	} {
		if got := ValidName(name); got != want {
			t.Errorf("ValidName(%q): got %v, want %v", name, got, want)
		}
		if !want {
			if err := Write(t.TempDir(), &State{Name: name}); err == nil {
				t.Errorf("Write(%q): got no error", name)
			}
			if _, err := Read(t.TempDir(), name); !errors.Is(err, ErrNotFound) {
				t.Errorf("Read(%q): got %v, want %v", name, err, ErrNotFound)
			}
		}
	}
}

// TestSweep keeps what a process that lives is writing.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, &State{Name: "kept"}); err != nil {
		t.Fatal(err)
	}
	const dead = 1 << 30 // above the kernel's largest
	for _, name := range []string{begun(dead) + "1", begun(os.Getpid()) + "1", ".new-x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(dir); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff([]string{begun(os.Getpid()) + "1", ".new-x", "kept.json"}, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if err := Sweep(filepath.Join(dir, "none")); err != nil {
		t.Errorf("a directory that is not there: %v", err)
	}
}
