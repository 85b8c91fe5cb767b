package usdt

import (
	"bytes"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

// watcher writes what it gets of a probe into an array: arguments, how many, and the result for one that is not there.
const watcher = `
#include <bpf/usdt.bpf.h>
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, int);
	__type(value, long);
} out SEC(".maps");

static void put(int key, long value) { bpf_map_update_elem(&out, &key, &value, 0); }

SEC("usdt//bin/target:netfate:hit")
int BPF_USDT(on_hit, long a, long b)
{
	long c, d, none;

	put(0, a);
	put(1, b);
	bpf_usdt_arg(ctx, 2, &c);
	put(2, c);
	bpf_usdt_arg(ctx, 3, &d);
	put(3, d);
	put(4, bpf_usdt_arg_cnt(ctx));
	put(5, bpf_usdt_arg(ctx, 4, &none));
	return 0;
}

SEC("usdt//bin/target:netfate:counted")
int BPF_USDT(on_counted, long a, long b)
{
	put(6, a);
	put(7, b);
	return 0;
}
`

// configured is watcher with other externs around, and a weak map of the user's.
const configured = `
extern int LINUX_KERNEL_VERSION __kconfig;
` + watcher + `
extern bool CONFIG_BPF_SYSCALL __kconfig __weak;
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, int);
} weak SEC(".maps") __weak;

SEC("raw_tp/sys_enter")
int on_enter(void *ctx)
{
	int key = LINUX_KERNEL_VERSION;
	return CONFIG_BPF_SYSCALL && bpf_map_lookup_elem(&weak, &key);
}
`

// patched returns the spec of a source, patched.
func patched(t *testing.T, source string) *ebpf.CollectionSpec {
	t.Helper()
	object := compileBPF(t, source)
	if _, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object)); err == nil {
		t.Error("the library parses the object as it is: is Patch needed any more?")
	}
	before := bytes.Clone(object)
	changed, err := Patch(object)
	if err != nil {
		t.Fatalf("patch: %v", err)
	}
	if !bytes.Equal(object, before) {
		t.Error("Patch has changed what it was given")
	}
	again, err := Patch(changed)
	if err != nil {
		t.Fatalf("patch twice: %v", err)
	}
	if !bytes.Equal(again, changed) {
		t.Error("a second Patch has changed the object again")
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(changed))
	if err != nil {
		t.Fatalf("parse the patched object: %v", err)
	}
	return spec
}

func TestPatch(t *testing.T) {
	for name, source := range map[string]string{"alone": watcher, "with other externs": configured} {
		t.Run(name, func(t *testing.T) {
			spec := patched(t, source)
			if spec.Maps[SpecsMap] == nil || spec.Maps[IPMap] == nil {
				t.Errorf("got no maps %s and %s", SpecsMap, IPMap)
			}
			linkage := make(map[string]btf.FuncLinkage)
			for i := range spec.Programs["on_hit"].Instructions {
				if fn := btf.FuncMetadata(&spec.Programs["on_hit"].Instructions[i]); fn != nil {
					linkage[fn.Name] = fn.Linkage
				}
			}
			want := map[string]btf.FuncLinkage{
				"on_hit": btf.GlobalFunc, "put": btf.StaticFunc, "bpf_usdt_arg": btf.StaticFunc, "bpf_usdt_arg_cnt": btf.StaticFunc,
			}
			if linkage["put"] == btf.StaticFunc && len(linkage) == 3 { // clang may have put it into its callers
				delete(want, "put")
			}
			if diff := cmp.Diff(want, linkage); diff != "" {
				t.Errorf("linkage: got (+), want (-):\n%s", diff)
			}
		})
	}
}

func TestPatchLeavesOthersAlone(t *testing.T) {
	object := compileBPF(t, `SEC("raw_tp/sys_enter") int on_enter(void *ctx) { return 0; }`)
	got, err := Patch(object)
	if err != nil {
		t.Fatal(err)
	}
	if &got[0] != &object[0] || len(got) != len(object) {
		t.Error("got a copy of an object that needs nothing, want itself")
	}
	if _, err := Patch([]byte("#!/bin/sh")); err == nil {
		t.Error("no ELF file: got no error")
	}
}

func TestFit(t *testing.T) {
	for _, haveCookie := range []bool{false, true} {
		spec := patched(t, configured)
		if err := Fit(spec, haveCookie); err != nil {
			t.Fatal(err)
		}
		want := []byte{0}
		if haveCookie {
			want = []byte{1}
		}
		if diff := cmp.Diff([]ebpf.MapKV{{Key: uint32(0), Value: want}}, spec.Maps[cookieMap].Contents); diff != "" {
			t.Errorf("contents: got (+), want (-):\n%s", diff)
		}
		loads := 0
		for i := range spec.Programs["on_hit"].Instructions {
			ins := &spec.Programs["on_hit"].Instructions[i]
			if ins.Constant == cookieMark {
				t.Errorf("instruction %d still has the mark", i)
			}
			if ins.Reference() == cookieMap && ins.Src == asm.PseudoMapValue {
				loads++
			}
		}
		if loads == 0 {
			t.Error("got no load from the constant map")
		}
		if err := Fit(spec, haveCookie); err != nil {
			t.Errorf("fit a second time: %v", err)
		}
	}
}

func TestFitRefuses(t *testing.T) {
	marked := func() map[string]*ebpf.ProgramSpec {
		return map[string]*ebpf.ProgramSpec{"p": {Instructions: asm.Instructions{asm.LoadImm(asm.R1, cookieMark, asm.DWord)}}}
	}
	taken := &ebpf.CollectionSpec{Programs: marked(), Maps: map[string]*ebpf.MapSpec{cookieMap: {}}}
	if err := Fit(taken, true); err == nil {
		t.Error("name taken: got no error")
	}
	other := &ebpf.CollectionSpec{Programs: marked(), Maps: map[string]*ebpf.MapSpec{SpecsMap: {ValueSize: 304}}}
	if err := Fit(other, true); err == nil {
		t.Error("another libbpf's layout: got no error")
	}
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte("\x7fELF"))
	f.Add(compileBPF(f, configured))
	f.Fuzz(func(t *testing.T, object []byte) {
		before := bytes.Clone(object)
		got, err := Patch(object)
		if !bytes.Equal(object, before) {
			t.Error("Patch has changed what it was given")
		}
		if err == nil && len(got) != len(object) {
			t.Errorf("got %d bytes, want the %d that there were", len(got), len(object))
		}
	})
}
