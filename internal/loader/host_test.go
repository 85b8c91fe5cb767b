package loader

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseCPUs(t *testing.T) {
	for text, want := range map[string][]int{"0": {0}, "0-2": {0, 1, 2}, "1,3-4": {1, 3, 4}} {
		got, err := parseCPUs(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{"", "x", "2-1", "-1", "0-99999999", "1-"} {
		if got, err := parseCPUs(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestSplitOffset(t *testing.T) {
	for _, c := range []struct {
		target, symbol string
		offset         uint64
		fails          bool
	}{{"tcp_v4_rcv", "tcp_v4_rcv", 0, false}, {"f+0x10", "f", 16, false}, {"f+8", "f", 8, false}, {"f+x", "", 0, true}} {
		symbol, offset, err := splitOffset(c.target)
		if symbol != c.symbol || offset != c.offset || (err != nil) != c.fails {
			t.Errorf("%s: got %s, %d, %v", c.target, symbol, offset, err)
		}
	}
}

func TestFindExecutable(t *testing.T) {
	for _, name := range []string{"libc.so.6", "sh", "/bin/sh"} {
		path, err := findExecutable(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"libnothere.so.9", "nothere-at-all", "/not/here"} {
		if got, err := findExecutable(name); err == nil {
			t.Errorf("%s: got %s, want an error", name, got)
		}
	}
}

func TestIsGo(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if !isGo(self) {
		t.Error("this test is not taken for a Go program")
	}
	sh, err := findExecutable("sh")
	if err != nil {
		t.Fatal(err)
	}
	if isGo(sh) {
		t.Error("sh is taken for a Go program")
	}
}

func TestNetfilterHook(t *testing.T) {
	opts, where, err := netfilterHook("ip6/forward/10")
	if err != nil || opts.Priority != 10 || where == "" {
		t.Errorf("got %+v, %q, %v", opts, where, err)
	}
	if _, _, err := netfilterHook(""); err != nil {
		t.Errorf("the default: %v", err)
	}
	for _, bad := range []string{"ip", "arp/input", "ip/nowhere", "ip/input/x", "ip/input/1/2"} {
		if _, _, err := netfilterHook(bad); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}

func TestNameOf(t *testing.T) {
	for path, want := range map[string]string{"/x/url_map.bpf.o": "url_map", "a.o": "a", "drop_bpfel.o": "drop", "plain": "plain"} {
		if got := nameOf(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

func TestStartOf(t *testing.T) {
	first, err := startOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	second, err := startOf(os.Getpid())
	if err != nil || first != second || first == 0 {
		t.Errorf("got %d and %d, %v; want the same twice", first, second, err)
	}
	if _, err := startOf(1 << 30); err == nil {
		t.Error("a process that is not there has a start")
	}
}
