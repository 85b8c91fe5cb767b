package kernel

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// ErrNoTracepoint says that the kernel's BTF does not declare a tracepoint.
var ErrNoTracepoint = errors.New("no such tracepoint in the kernel's BTF")

// FreeArgs are the positions of the arguments of the tracepoint kfree_skb,
// counted as BPF programs count them: the first after the kernel's own leading
// void *__data is 0. An argument that this kernel lacks is -1.
type FreeArgs struct {
	Skb      int // struct sk_buff *
	Location int // void *, the code that freed it
	Reason   int // enum skb_drop_reason: 5.17, and in backports
	RxSK     int // struct sock *, the receiver: 6.11
}

// TracepointArgs returns the argument types of tracepoint name, without the
// leading void *__data and without qualifiers or typedefs around them. They
// come from the typedef btf_trace_NAME, which exists for the tracepoints that
// programs of type tp_btf can attach to. A tracepoint of a module is only in
// that module's spec. The error is ErrNoTracepoint if there is none.
func TracepointArgs(spec *btf.Spec, name string) ([]btf.Type, error) {
	var def *btf.Typedef
	if err := spec.TypeByName("btf_trace_"+name, &def); err != nil {
		if errors.Is(err, btf.ErrNotFound) {
			return nil, fmt.Errorf("tracepoint %s: %w", name, ErrNoTracepoint)
		}
		return nil, fmt.Errorf("tracepoint %s: %w", name, err)
	}
	ptr, ok := btf.As[*btf.Pointer](def.Type)
	if !ok {
		return nil, fmt.Errorf("tracepoint %s: its typedef is a %T, not a pointer to a function", name, def.Type)
	}
	proto, ok := btf.As[*btf.FuncProto](ptr.Target)
	if !ok {
		return nil, fmt.Errorf("tracepoint %s: its typedef points to a %T, not to a function", name, ptr.Target)
	}
	if len(proto.Params) == 0 {
		return nil, fmt.Errorf("tracepoint %s: its function lacks the leading void *", name)
	}
	args := make([]btf.Type, 0, len(proto.Params)-1)
	for _, p := range proto.Params[1:] {
		args = append(args, btf.UnderlyingType(p.Type))
	}
	return args, nil
}

// HasTracepoint reports whether spec declares tracepoint name.
func HasTracepoint(spec *btf.Spec, name string) bool {
	_, err := TracepointArgs(spec, name)
	return err == nil
}

// KfreeSKBArgs finds the arguments of the tracepoint kfree_skb in spec by
// their types, since BTF has no names for them and since their number and
// order differ between kernels. A kernel without a reason or a receiver is no
// error; one without the packet or the location is.
func KfreeSKBArgs(spec *btf.Spec) (FreeArgs, error) {
	none := FreeArgs{Skb: -1, Location: -1, Reason: -1, RxSK: -1}
	types, err := TracepointArgs(spec, "kfree_skb")
	if err != nil {
		return none, err
	}
	args := none
	set := func(position *int, i int) {
		if *position < 0 { // the first of a type is meant
			*position = i
		}
	}
	for i, t := range types {
		switch t := t.(type) {
		case *btf.Enum:
			if t.Name == "skb_drop_reason" {
				set(&args.Reason, i)
			}
		case *btf.Pointer:
			switch target := btf.UnderlyingType(t.Target).(type) {
			case *btf.Void:
				set(&args.Location, i)
			case *btf.Struct:
				switch target.Name {
				case "sk_buff":
					set(&args.Skb, i)
				case "sock":
					set(&args.RxSK, i)
				}
			case *btf.Fwd: // split or minimised BTF may hold the name only
				switch target.Name {
				case "sk_buff":
					set(&args.Skb, i)
				case "sock":
					set(&args.RxSK, i)
				}
			}
		}
	}
	if args.Skb < 0 || args.Location < 0 {
		return none, fmt.Errorf("tracepoint kfree_skb: its arguments %v lack the packet or the location", types)
	}
	return args, nil
}
