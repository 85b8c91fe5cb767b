package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

// specOf returns a spec that declares the given types.
func specOf(t *testing.T, types ...btf.Type) *btf.Spec {
	t.Helper()
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, &btf.MarshalOptions{Order: binary.NativeEndian})
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// tracepointType is what the kernel declares for each tracepoint: a typedef of
// a pointer to a function with unnamed parameters.
func tracepointType(name string, args ...btf.Type) btf.Type {
	params := []btf.FuncParam{{Type: voidPtr()}}
	for _, a := range args {
		params = append(params, btf.FuncParam{Type: a})
	}
	return &btf.Typedef{Name: "btf_trace_" + name, Type: &btf.Pointer{Target: &btf.FuncProto{Return: &btf.Void{}, Params: params}}}
}

func voidPtr() btf.Type { return &btf.Pointer{Target: &btf.Void{}} }

func structPtr(name string) btf.Type {
	return &btf.Pointer{Target: &btf.Struct{Name: name, Size: 4, Members: []btf.Member{{Name: "x", Type: u32Type()}}}}
}

func u32Type() btf.Type { return &btf.Int{Name: "unsigned int", Size: 4} }

func reasonEnum() *btf.Enum {
	return &btf.Enum{Name: "skb_drop_reason", Size: 4, Values: []btf.EnumValue{
		{Name: "SKB_NOT_DROPPED_YET", Value: 0},
		{Name: "SKB_CONSUMED", Value: 1},
		{Name: "SKB_DROP_REASON_NOT_SPECIFIED", Value: 2},
		{Name: "SKB_DROP_REASON_NO_SOCKET", Value: 3},
		{Name: "SKB_DROP_REASON_VXLAN_NO_REMOTE", Value: 4},
		{Name: "SKB_DROP_REASON_MAX", Value: 5},
		{Name: "SKB_DROP_REASON_SUBSYS_MASK", Value: 0xffff0000},
	}}
}

func TestKfreeSKBArgs(t *testing.T) {
	skb := structPtr("sk_buff")
	constSK := &btf.Pointer{Target: &btf.Const{Type: &btf.Struct{Name: "sock", Size: 4, Members: []btf.Member{{Name: "x", Type: u32Type()}}}}}
	tests := []struct {
		name string
		args []btf.Type
		want FreeArgs
	}{
		{"5.10", []btf.Type{skb, voidPtr()}, FreeArgs{Skb: 0, Location: 1, Reason: -1, RxSK: -1}},
		{"5.17", []btf.Type{skb, voidPtr(), reasonEnum()}, FreeArgs{Skb: 0, Location: 1, Reason: 2, RxSK: -1}},
		{"6.11", []btf.Type{skb, voidPtr(), reasonEnum(), structPtr("sock")}, FreeArgs{Skb: 0, Location: 1, Reason: 2, RxSK: 3}},
		{"reversed", []btf.Type{structPtr("sock"), reasonEnum(), voidPtr(), skb}, FreeArgs{Skb: 3, Location: 2, Reason: 1, RxSK: 0}},
		{"receiver without reason, qualified", []btf.Type{skb, constSK, voidPtr()}, FreeArgs{Skb: 0, Location: 2, Reason: -1, RxSK: 1}},
		{"strangers between", []btf.Type{u32Type(), skb, structPtr("net"), &btf.Enum{Name: "other", Size: 4}, voidPtr(), &btf.Typedef{Name: "r_t", Type: reasonEnum()}},
			FreeArgs{Skb: 1, Location: 4, Reason: 5, RxSK: -1}},
		{"only a declaration of sk_buff", []btf.Type{&btf.Pointer{Target: &btf.Fwd{Name: "sk_buff"}}, voidPtr()}, FreeArgs{Skb: 0, Location: 1, Reason: -1, RxSK: -1}},
		{"two of a type", []btf.Type{skb, voidPtr(), voidPtr()}, FreeArgs{Skb: 0, Location: 1, Reason: -1, RxSK: -1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := KfreeSKBArgs(specOf(t, tracepointType("kfree_skb", test.args...)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("got + want -\n%s", diff)
			}
		})
	}
}

func TestKfreeSKBArgsRefused(t *testing.T) {
	if _, err := KfreeSKBArgs(specOf(t, u32Type())); !errors.Is(err, ErrNoTracepoint) {
		t.Errorf("no typedef: got %v, want ErrNoTracepoint", err)
	}
	for name, typ := range map[string]btf.Type{
		"no location":    tracepointType("kfree_skb", structPtr("sk_buff")),
		"no packet":      tracepointType("kfree_skb", voidPtr()),
		"no arguments":   tracepointType("kfree_skb"),
		"not a pointer":  &btf.Typedef{Name: "btf_trace_kfree_skb", Type: u32Type()},
		"not a function": &btf.Typedef{Name: "btf_trace_kfree_skb", Type: voidPtr()},
		"no void *":      &btf.Typedef{Name: "btf_trace_kfree_skb", Type: &btf.Pointer{Target: &btf.FuncProto{Return: &btf.Void{}}}},
	} {
		if args, err := KfreeSKBArgs(specOf(t, typ)); err == nil || args.Skb != -1 || args.Location != -1 {
			t.Errorf("%s: got %+v, %v; want an error and no positions", name, args, err)
		}
	}
}

func TestHasTracepoint(t *testing.T) {
	spec := specOf(t, tracepointType("kfree_skb", structPtr("sk_buff"), voidPtr()))
	if !HasTracepoint(spec, "kfree_skb") || HasTracepoint(spec, "consume_skb") {
		t.Error("got the wrong tracepoints")
	}
}

// runningSpec returns the BTF of the running kernel, which must have some: the
// package is of no use without.
func runningSpec(t testing.TB) *btf.Spec {
	t.Helper()
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestRunningKernelTracepoints(t *testing.T) {
	spec := runningSpec(t)
	args, err := KfreeSKBArgs(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("kfree_skb: %+v", args)
	if args.Skb != 0 || args.Location != 1 {
		t.Errorf("got %+v, want the packet first and the location second, as all kernels to 7.2 have it", args)
	}
	var reason *btf.Enum
	if has := spec.TypeByName("skb_drop_reason", &reason) == nil; has != (args.Reason >= 0) {
		t.Errorf("enum skb_drop_reason exists: %v; position of the reason: %d", has, args.Reason)
	}
	for _, name := range []string{"consume_skb", "netif_receive_skb", "net_dev_start_xmit", "inet_sock_set_state"} {
		if !HasTracepoint(spec, name) {
			t.Errorf("got no tracepoint %s", name)
		}
	}
}
