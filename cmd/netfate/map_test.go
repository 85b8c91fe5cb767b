package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/need"
)

// makeMap makes a hash map with keys of 4 bytes and values of 8 and returns its
// id. Here is no library for it, as nothing else in the commands needs one.
func makeMap(t *testing.T, name string) uint32 {
	t.Helper()
	need.Root(t)
	create := struct {
		kind, key, value, entries, flags, inner, node uint32
		name                                          [16]byte
	}{kind: unix.BPF_MAP_TYPE_HASH, key: 4, value: 8, entries: 100}
	copy(create.name[:15], name)
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_MAP_CREATE, uintptr(unsafe.Pointer(&create)), unsafe.Sizeof(create))
	if errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() {
		if err := unix.Close(int(fd)); err != nil {
			t.Error(err)
		}
	})
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		var id uint32
		if n, _ := fmt.Sscanf(line, "map_id:\t%d", &id); n == 1 {
			return id
		}
	}
	t.Fatalf("no map_id in %q", info)
	return 0
}

// playMap runs netfate map and returns what it prints and its exit code.
func playMap(t *testing.T, args ...string) (stdout string, code int, err error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	kept := os.Stdout
	os.Stdout = w
	read := make(chan string)
	go func() {
		text, _ := io.ReadAll(r)
		read <- string(text)
	}()
	root := newRoot()
	if c, _, _ := root.Find([]string{"map"}); c == root {
		root.AddCommand(newMap())
	}
	root.SetArgs(append([]string{"map"}, args...))
	err = root.ExecuteContext(t.Context())
	os.Stdout = kept
	_ = w.Close()
	stdout = <-read
	_ = r.Close()
	return stdout, exitCode(err), err
}

func TestMap(t *testing.T) {
	name := fmt.Sprintf("nf_%d", os.Getpid())
	id := fmt.Sprint(makeMap(t, name))
	for _, c := range []struct {
		args string // separated by commas
		code int
		want string // in the output, or in the error
	}{
		{"set," + name + ",1,0x0500000000000000", 0, ""},
		{"set," + id + ",2,7", 0, ""},
		{"get," + name + ",1", 0, "0x01000000  0x0500000000000000"},
		{"get," + id + ",2,-o,json", 0, `{"key":"0x02000000","value":"0x0700000000000000"}`},
		{"dump," + id + ",--sort,value,-n,1,-o,csv", 0, "key,value\n0x02000000,0x0700000000000000\n"},
		{"ls", 0, name},
		{"ls,-o,json", 0, `"name":"` + name + `"`},
		{"", 0, name},
		{"watch," + id + ",-d,350ms,--every,100ms", 0, "2 keys"},
		{"watch," + id + ",-d,350ms,--every,100ms,-o,json,-n,1", 0, `"value":"0x0700000000000000","delta":0,"rate":0}`},
		{"delete," + id + ",1", 0, ""},
		{"get," + id + ",1", exitFailed, "no such key"},
		{"get," + id + ",elephant", exitUsage, "4 bytes of unknown type"},
		{"get," + id, exitUsage, "name the key"},
		{"set," + id + ",1", exitUsage, "KEY VALUE"},
		{"set," + id + ",1,x", exitUsage, "16 hex digits"},
		{"watch," + id + ",--every,1ms", exitUsage, "shortest"},
		{"watch," + id + ",-o,csv", exitUsage, "table, json"},
		{"dump,no_such_map_here", exitFailed, "netfate map ls lists them"},
		{"dump", exitUsage, "path, name or id"},
		{"dump," + id + ",--sort,key", exitUsage, "--sort takes value"},
		{"frobnicate", exitUsage, "frobnicate"},
		{"ls,-o,xml", exitUsage, "--output"},
	} {
		t.Run(strings.ReplaceAll(c.args, ",", " "), func(t *testing.T) {
			var args []string
			if c.args != "" {
				args = strings.Split(c.args, ",")
			}
			stdout, code, err := playMap(t, args...)
			text := stdout
			if err != nil {
				text = err.Error()
			}
			if code != c.code || !strings.Contains(text, c.want) {
				t.Errorf("got exit code %d and %q, want %d and %q", code, text, c.code, c.want)
			}
			if code == 0 && strings.Contains(c.args, "json") {
				for line := range strings.Lines(stdout) {
					if !json.Valid([]byte(line)) {
						t.Errorf("got no JSON: %s", line)
					}
				}
			}
		})
	}
}
