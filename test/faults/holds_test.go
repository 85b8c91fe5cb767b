package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/test/netlab"
)

// holds is what a process has open: how many files of each kind, and which objects of
// BPF, by their kind and number.
type holds struct {
	files   map[string]int
	objects map[string]bool
}

// objectField finds the objects of BPF, by the field of proc_pid_fdinfo(5) that has their number.
func objectField() *regexp.Regexp { return regexp.MustCompile(`(?m)^(prog|link|map)_id:\s*(\d+)$`) }

// held reads what a process has open.
func held(t testing.TB, pid int) holds {
	t.Helper()
	h := holds{files: map[string]int{}, objects: map[string]bool{}}
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	field := objectField()
	for _, name := range names {
		target, err := os.Readlink(name)
		if err != nil {
			continue // it is closed by now
		}
		kind, _, _ := strings.Cut(target, "[")
		h.files[kind]++
		text, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(name)), "fdinfo", filepath.Base(name)))
		if err != nil {
			continue
		}
		for _, m := range field.FindAllSubmatch(text, -1) {
			h.objects[string(m[1])+" "+string(m[2])] = true
		}
	}
	return h
}

// total is how many files there are.
func (h holds) total() (n int) {
	for _, count := range h.files {
		n += count
	}
	return n
}

// stay returns which of the objects the kernel still has.
func (h holds) stay(t testing.TB) (left []string) {
	t.Helper()
	for object := range h.objects {
		kind, number, _ := strings.Cut(object, " ")
		id, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		if there(t, kind, uint32(id)) {
			left = append(left, object)
		}
	}
	slices.Sort(left)
	return left
}

func there(t testing.TB, kind string, id uint32) bool {
	t.Helper()
	var object interface{ Close() error }
	var err error
	switch kind {
	case "prog":
		object, err = ebpf.NewProgramFromID(ebpf.ProgramID(id))
	case "link":
		object, err = link.NewFromID(link.ID(id))
	default:
		object, err = ebpf.NewMapFromID(ebpf.MapID(id))
	}
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	if err == nil {
		err = object.Close()
	}
	if err != nil {
		t.Fatalf("open %s %d: %v", kind, id, err)
	}
	return true
}

// gone waits until nothing of it is in the kernel, which frees in the background.
func (h holds) gone(t testing.TB) {
	t.Helper()
	if len(h.objects) < 5 {
		t.Errorf("got %v, want programs, links and maps: the test sees nothing", h.objects)
	}
	var left []string
	if !netlab.Poll(time.Minute, func() bool { left = h.stay(t); return len(left) == 0 }) {
		t.Errorf("got %q in the kernel after the end, want nothing", left)
	}
}

// pins lists what bpffs has.
func pins(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("/sys/fs/bpf/*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}
