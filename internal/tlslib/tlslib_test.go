package tlslib

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/test/need"
)

// library defines some of the functions, one of another name that ends like one
// of them, and calls one that it does not define.
const library = `
int SSL_read(void *ssl, void *buffer, int size) { return size; }
int SSL_write(void *ssl, const void *buffer, int size) { return size; }
int my_SSL_write(void *ssl, const void *buffer, int size) { return -size; }
int gnutls_record_send(void *session, const void *data, unsigned long size);
void SSL_free(void *ssl) { gnutls_record_send(ssl, "", 0); }
`

// user calls what others define.
const user = `
int SSL_write(void *ssl, const void *buffer, int size);
int main(void) { return SSL_write("", "", 0); }
`

func compileC(t *testing.T, source string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	path, object := filepath.Join(dir, "source.c"), filepath.Join(dir, "object")
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", append([]string{"-O1", "-o", object, path}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	return object
}

func find(t *testing.T, path string) ([]Site, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return Find(f)
}

// places are sites by function and offset.
func places(sites []Site) []string {
	var all []string
	for _, s := range sites {
		all = append(all, fmt.Sprintf("%s %d at %#x", s.Function, s.What, s.Offset))
	}
	return all
}

// TestLibrary finds what debug/elf does, and neither names that end alike nor
// what is only called.
func TestLibrary(t *testing.T) {
	path := compileC(t, library, "-shared", "-fPIC")
	sites, err := find(t, path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]uint64{}
	for _, s := range all {
		if s.Name == "SSL_read" || s.Name == "SSL_write" || s.Name == "SSL_free" {
			// ld puts the code of a library where the file has it.
			want[s.Name] = s.Value
		}
	}
	got := map[string]uint64{}
	for _, s := range sites {
		got[s.Function] = s.Offset
		if s.What != wanted()[s.Function] {
			t.Errorf("%s: got %d", s.Function, s.What)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) != 3 {
		t.Errorf("places (-want +got):\n%s", diff)
	}
}

// TestStatic finds functions that a program does not export, at other places of
// the file than of memory, and not once their names are stripped.
func TestStatic(t *testing.T) {
	const program = library + "int gnutls_record_send(void *s, const void *d, unsigned long n) { return n; }\nint main(void) { SSL_free(0); return my_SSL_write(0, 0, SSL_read(0, 0, SSL_write(0, 0, 0))); }"
	sites, err := find(t, compileC(t, program, "-no-pie"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range sites {
		names = append(names, s.Function)
		if s.Offset >= 0x400000 {
			t.Errorf("%s: got offset %#x, which is an address", s.Function, s.Offset)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"SSL_free", "SSL_read", "SSL_write", "gnutls_record_send"}, names); diff != "" {
		t.Errorf("functions (-want +got):\n%s", diff)
	}
	if sites, err := find(t, compileC(t, program, "-no-pie", "-s")); !errors.Is(err, ErrNone) {
		t.Errorf("stripped: got %v, error %v; want ErrNone", places(sites), err)
	}
}

// TestHandshakes finds where a handshake begins: where the library says it once, and
// otherwise where it is asked to go on.
func TestHandshakes(t *testing.T) {
	const boring = "int SSL_write(void *ssl, const void *buffer, int size) { return size; }\nint SSL_connect(void *ssl) { return 1; }\nint SSL_accept(void *ssl) { return 2; }\n"
	const open = boring + "int SSL_read_ex(void *s, void *b, unsigned long n, unsigned long *done) { return 3; }\nvoid SSL_set_connect_state(void *ssl) {}\n"
	for text, want := range map[string]string{
		boring: fmt.Sprint([]What{Write, Connect, Accept}),
		open:   fmt.Sprint([]What{Write, ReadEx, Client}),
	} {
		sites, err := find(t, compileC(t, text, "-shared", "-fPIC"))
		if got := kindsOf(sites); err != nil || got != want {
			t.Errorf("got %s, error %v; want %s of\n%s", got, err, want, text)
		}
	}
}

func TestNothing(t *testing.T) {
	for name, b := range map[string][]byte{"nothing": nil, "text": []byte("#!/bin/sh\n"), "a header's beginning": []byte(elf.ELFMAG)} {
		if sites, err := Find(bytes.NewReader(b)); !errors.Is(err, ErrNone) {
			t.Errorf("%s: got %v, error %v; want ErrNone", name, places(sites), err)
		}
	}
	lib := compileC(t, "int SSL_write(void *ssl, const void *buffer, int size) { return size; }", "-shared", "-fPIC")
	if sites, err := find(t, compileC(t, user, lib)); !errors.Is(err, ErrNone) {
		t.Errorf("a program that calls: got %v, error %v; want ErrNone", places(sites), err)
	}
}

// goProgram uses both sides of crypto/tls.
const goProgram = `package main

import (
	"net/http"
	"os"
)

func main() {
	if len(os.Args) > 1 {
		_, _ = http.Get(os.Args[1])
	}
	_ = http.ListenAndServeTLS(":0", "", "", nil)
}
`

func buildGo(t *testing.T, dir, name string, env []string, args ...string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, args...), filepath.Join(dir, "main.go"))...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// TestGo finds the same in programs with and without symbols, and the RETs that
// Go's own disassembler sees.
func TestGo(t *testing.T) {
	need.Time(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(goProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	static, linked := []string{"CGO_ENABLED=0"}, []string{"CGO_ENABLED=1"}
	external := "-linkmode=external"
	for _, c := range []struct {
		name  string
		env   []string
		flags string
		args  []string
	}{
		{"plain", static, "", nil},
		{"newer processor", append(static, "GOAMD64=v3"), "", nil},
		{"C's linker, position-independent", linked, external, []string{"-buildmode=pie"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			full := buildGo(t, dir, "full", c.env, append(c.args, "-ldflags="+c.flags)...)
			want, err := find(t, full)
			if err != nil {
				t.Fatal(err)
			}
			got, err := find(t, buildGo(t, dir, "stripped", c.env, append(c.args, "-ldflags=-s -w "+c.flags)...))
			if err != nil {
				t.Fatalf("stripped: %v", err)
			}
			// The linker may put more in front of the code if it knows names.
			if diff := cmp.Diff(distances(want), distances(got)); diff != "" {
				t.Errorf("stripped (-full +stripped):\n%s", diff)
			}
			if c.flags == "" {
				if diff := cmp.Diff(disassembled(t, full), retsOf(t, full, want)); diff != "" {
					t.Errorf("RETs (-go tool objdump +got):\n%s", diff)
				}
			}
			if kinds := kindsOf(want); kinds != fmt.Sprint([]What{GoWrite, GoRead, GoReturn, GoClient, GoServer, GoClose}) {
				t.Errorf("got kinds %s, want each of Go's", kinds)
			}
		})
	}
}

func kindsOf(sites []Site) string {
	var kinds []int
	for _, s := range sites {
		kinds = append(kinds, int(s.What))
	}
	slices.Sort(kinds)
	return fmt.Sprint(slices.Compact(kinds))
}

// distances are places, counted from the first one.
func distances(sites []Site) []string {
	moved := slices.Clone(sites)
	for i := range moved {
		moved[i].Offset -= sites[0].Offset
	}
	return places(moved)
}

// retsOf are the addresses of returns.
func retsOf(t *testing.T, path string, sites []Site) (all []uint64) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, s := range sites {
		for _, p := range f.Progs {
			if s.What == GoReturn && p.Type == elf.PT_LOAD && s.Offset >= p.Off && s.Offset-p.Off < p.Filesz {
				all = append(all, s.Offset-p.Off+p.Vaddr)
			}
		}
	}
	slices.Sort(all)
	return all
}

// disassembled are the addresses of the returns of Read and Write that go tool
// objdump sees.
func disassembled(t *testing.T, path string) (all []uint64) {
	t.Helper()
	out, err := exec.Command("go", "tool", "objdump", "-s", `^crypto/tls\.\(\*Conn\)\.(Read|Write)$`, path).Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) >= 4 && f[3] == "RET" {
			at, err := strconv.ParseUint(f[1], 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, at)
		}
	}
	slices.Sort(all)
	return all
}

// TestOldGo refuses a program that passes arguments on the stack.
func TestOldGo(t *testing.T) {
	need.Time(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(goProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	path := buildGo(t, dir, "old", []string{"CGO_ENABLED=0"})
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	now := runtime.Version()
	old := "go1.16" + strings.Repeat(" ", len(now)-len("go1.16"))
	sites, err := Find(bytes.NewReader(bytes.ReplaceAll(b, []byte(now), []byte(old))))
	if err == nil || !strings.Contains(err.Error(), "go1.17") || errors.Is(err, ErrNone) {
		t.Errorf("got %d places, error %v; want one that names go1.17", len(sites), err)
	}
	// Without symbols and with its line table spoilt, nothing is found, and said.
	stripped, err := os.ReadFile(buildGo(t, dir, "stripped", []string{"CGO_ENABLED=0"}, "-ldflags=-s -w"))
	if err != nil {
		t.Fatal(err)
	}
	spoilt := bytes.ReplaceAll(stripped, []byte(".gopclntab\x00"), []byte(".gosomenam\x00"))
	if sites, err := Find(bytes.NewReader(spoilt)); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("no line table: got %d places, error %v; want a reason", len(sites), err)
	}
}

func TestOffsetOf(t *testing.T) {
	f := &elf.File{Progs: []*elf.Prog{
		{ProgHeader: elf.ProgHeader{Type: elf.PT_LOAD, Flags: elf.PF_R, Vaddr: 0, Filesz: 0x1000}},
		{ProgHeader: elf.ProgHeader{Type: elf.PT_LOAD, Flags: elf.PF_R | elf.PF_X, Off: 0x1000, Vaddr: 0x401000, Filesz: 0x100, Memsz: 0x200}},
	}}
	check := func(address, want uint64, ok bool) {
		t.Helper()
		if got, found := offsetOf(f, address); got != want || found != ok {
			t.Errorf("%#x: got %#x, %v; want %#x, %v", address, got, found, want, ok)
		}
	}
	check(0x401010, 0x1010, true)
	check(0x4010ff, 0x10ff, true)
	check(0x401100, 0, false)
	check(0x10, 0, false) // no code
	check(^uint64(0), 0, false)
}

// TestStems wants each name to begin with what is looked for.
func TestStems(t *testing.T) {
	for name := range keys(wanted()) {
		if !slices.ContainsFunc(stems(), func(stem string) bool { return strings.HasPrefix(name, stem) }) {
			t.Errorf("%s is never found", name)
		}
	}
}
