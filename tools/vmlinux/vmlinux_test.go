package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata")

// kernel returns BTF with one of everything that kernels have, whatever kernel
// the test runs on.
func kernel(t *testing.T) *btf.Spec {
	t.Helper()
	char := &btf.Int{Name: "char", Size: 1, Encoding: btf.Char}
	u8 := &btf.Typedef{Name: "__u8", Type: &btf.Int{Name: "unsigned char", Size: 1}}
	num := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	long := &btf.Int{Name: "long unsigned int", Size: 8}
	net := &btf.Struct{Name: "net", Size: 4, Members: []btf.Member{{Name: "id", Type: num}}}
	netRef := &btf.Typedef{Name: "possible_net_t", Type: &btf.Struct{Size: 8, Members: []btf.Member{{Name: "net", Type: &btf.Pointer{Target: net}}}}}
	common := &btf.Struct{Name: "sock_common", Size: 24, Members: []btf.Member{
		{Name: "skc_state", Type: &btf.Volatile{Type: u8}},
		{Name: "skc_flags", Type: u8, Offset: 8, BitfieldSize: 3},
		{Name: "skc_net", Type: netRef, Offset: 64},
		{Name: "skc_rest", Type: long, Offset: 128},
	}}
	state := &btf.Enum{Name: "state", Size: 4, Values: []btf.EnumValue{{Name: "OPEN", Value: 1}, {Name: "SHUT", Value: 2}}}
	file := &btf.Fwd{Name: "file"}
	sock := &btf.Struct{Name: "sock", Size: 128}
	sock.Members = []btf.Member{
		{Name: "__sk_common", Type: common},
		{Offset: 192, Type: &btf.Union{Size: 8, Members: []btf.Member{
			{Name: "sk_next", Type: &btf.Pointer{Target: sock}},
			{Type: &btf.Struct{Size: 8, Members: []btf.Member{{Name: "sk_mark", Type: num}, {Name: "sk_unused", Type: num, Offset: 32}}}},
		}}},
		{Name: "sk_backlog", Offset: 256, Type: &btf.Struct{Size: 8, Members: []btf.Member{{Name: "len", Type: num}, {Name: "head", Type: num, Offset: 32}}}},
		{Name: "sk_file", Offset: 320, Type: &btf.Pointer{Target: &btf.Const{Type: file}}},
		{Name: "sk_ready", Offset: 384, Type: &btf.Pointer{Target: &btf.FuncProto{Return: &btf.Void{}}}},
		{Name: "sk_name", Offset: 448, Type: &btf.Array{Index: num, Type: char, Nelems: 16}},
		{Name: "sk_state", Offset: 576, Type: state},
		{Name: "sk_user", Offset: 640, Type: &btf.Pointer{Target: &btf.TypeTag{Value: "rcu", Type: &btf.Void{}}}},
		{Name: "sk_path", Offset: 704, Type: &btf.Const{Type: &btf.Pointer{Target: &btf.Const{Type: char}}}},
		{Name: "sk_rows", Offset: 768, Type: &btf.Pointer{Target: &btf.Array{Index: num, Type: num, Nelems: 4}}},
		{Name: "sk_addr", Offset: 832, Type: &btf.Union{Size: 16, Members: []btf.Member{
			{Name: "bytes", Type: &btf.Array{Index: num, Type: u8, Nelems: 16}},
			{Name: "words", Type: &btf.Array{Index: num, Type: num, Nelems: 4}},
		}}},
		{Name: "sk_owner", Offset: 960, Type: &btf.Pointer{Target: &btf.Struct{Name: "task_struct", Size: 4, Members: []btf.Member{{Name: "pid", Type: num}}}}},
	}
	builder, err := btf.NewBuilder([]btf.Type{
		// Another driver's struct of the same name comes first.
		&btf.Struct{Name: "sock", Size: 4, Members: []btf.Member{{Name: "port", Type: num}}},
		sock, common, net, state,
		&btf.Struct{Name: "ctx", Size: 20, Members: []btf.Member{
			{Name: "family", Type: num},
			{Type: &btf.Union{Size: 16, Members: []btf.Member{{Name: "ip4", Type: num}, {Name: "ip6", Type: &btf.Array{Index: num, Type: num, Nelems: 4}}}}, Offset: 32},
		}},
		&btf.Enum{Size: 4, Values: []btf.EnumValue{{Name: "F_NEVER", Value: 1}}},
		&btf.Enum{Size: 4, Values: []btf.EnumValue{{Name: "F_ONE", Value: 1}, {Name: "F_OTHER", Value: 2}, {Name: "F_TOP", Value: 1 << 31}}},
		&btf.Enum{Size: 8, Values: []btf.EnumValue{{Name: "F_WIDE", Value: 1 << 40}}},
		&btf.Enum{Name: "error", Size: 4, Signed: true, Values: []btf.EnumValue{{Name: "E_BAD", Value: ^uint64(0)}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := builder.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestGenerate(t *testing.T) {
	list, err := os.ReadFile("testdata/wanted.txt")
	if err != nil {
		t.Fatal(err)
	}
	w, err := parseWanted(string(list))
	if err != nil {
		t.Fatal(err)
	}
	got, err := generate(w, kernel(t))
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/vmlinux.h"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got; -update rewrites)\n%s", diff)
	}
	again, err := generate(w, kernel(t))
	if err != nil || again != got {
		t.Errorf("a second run: got another text or error %v, want the same", err)
	}
}

func TestGenerateMissing(t *testing.T) {
	for list, want := range map[string]string{
		"typedef nothing":               "typedef nothing: no such type",
		"struct nothing: a":             "struct nothing: no such type",
		"union sock: port":              "union sock: no such type",
		"struct net: id nowhere absent": "struct net: no member absent, nowhere",
		"struct sock: sk_backlog.tail":  "struct sock: no member",
		"struct sock: sk_name.first":    "sk_name (which has no members)",
		"struct sock: __sk_common":      "member __sk_common: list the members wanted of its struct sock_common",
		"struct sock: sk_state":         "member sk_state: list the values wanted of its enum state",
		"enum state: OPEN AJAR":         "enum state: no enum with all of OPEN AJAR",
		"enum: OPEN":                    "enum : no enum with all of OPEN",
		"exact struct nothing":          "struct nothing: no such type",
	} {
		w, err := parseWanted(list)
		if err != nil {
			t.Errorf("%s: %v", list, err)
			continue
		}
		if _, err := generate(w, kernel(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want %q", list, err, want)
		}
	}
}

func TestParseWanted(t *testing.T) {
	for list, want := range map[string]string{
		"struct a":                  "1: struct a: want",
		"\n\nstruct a:":             "3: struct a: want",
		"exact struct a: b":         "1: struct a: want",
		"struct a: b\nstruct a: c":  "2: struct a: listed twice",
		"struct a: b b":             "b is listed twice",
		"struct a: b b.c":           "b is listed with all its members already",
		"struct a: b.c b":           "b is listed twice",
		"enum e: A\nenum e: B":      "enum e: listed twice",
		"enum e:":                   "lists no values",
		"enum e":                    "want typedef, enum",
		"exact":                     "want typedef, enum",
		"exact typedef a":           "want typedef, enum",
		"class a: b":                "want typedef, enum",
		"  struct a: b":             "1: continues nothing",
		"literal\nstruct a;":        "literal without end",
		"struct a: b\nliteral\nend": "",
		"# nothing\n":               "",
		"struct a:\n\tb # one\n c":  "",
	} {
		_, err := parseWanted(list)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want %q", list, err, want)
		}
	}
}

func FuzzParseWanted(f *testing.F) {
	f.Add("typedef a b\nenum: A\nexact struct x\nstruct y: a.b c\n\td\nliteral\nx\nend\n")
	f.Add("exact\nliteral")
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = parseWanted(text) // must come back
	})
}

func TestSignature(t *testing.T) {
	const list, header = "typedef u8\n", "typedef unsigned char u8;\n"
	signed := sign(header, list)
	if err := verify(signed, list); err != nil {
		t.Errorf("untouched: got %v, want nil", err)
	}
	for name, c := range map[string][2]string{
		"header edited": {strings.Replace(signed, "char", "long", 1), list},
		"list edited":   {signed, list + "typedef u16\n"},
		"text added":    {signed + "typedef int u32;\n", list},
		"by hand":       {header, list},
	} {
		if verify(c[0], c[1]) == nil {
			t.Errorf("%s: got nil, want an error", name)
		}
	}
}

// TestHeaderIsCurrent checks the header that programs are built with. It does
// not make it anew: another kernel's BTF has other typedefs.
func TestHeaderIsCurrent(t *testing.T) {
	dir := filepath.Join("..", "..", "bpf", "vmlinux")
	header, err := os.ReadFile(filepath.Join(dir, "vmlinux.h"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(dir, "wanted.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(string(header), string(list)); err != nil {
		t.Errorf("bpf/vmlinux/vmlinux.h: %v", err)
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "wanted.txt")
	if err := os.WriteFile(list, []byte("struct a"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(list, list, filepath.Join(dir, "out.h")); err == nil || !strings.Contains(err.Error(), "wanted.txt:1: struct a") {
		t.Errorf("a bad list: got %v, want its line", err)
	}
	if err := os.WriteFile(list, []byte("struct a: b"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(list, list, filepath.Join(dir, "out.h")); err == nil || !strings.Contains(err.Error(), "load BTF of") {
		t.Errorf("no BTF: got %v, want an error about BTF", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "out.h")); err == nil {
		t.Error("out.h: written, want nothing after an error")
	}
}
