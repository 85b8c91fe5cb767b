package hook

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/filter"
)

// object returns the flow sensor's object, as committed.
func object(t *testing.T) *ebpf.CollectionSpec {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpec("../sensor/flow/bpf_x86_bpfel.o")
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestChoose(t *testing.T) {
	f := func(v Variant, want ...string) {
		t.Helper()
		spec := object(t)
		s := Choose(spec, []string{"netif_receive_skb", "net_dev_xmit"}, v)
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(spec.Programs))); diff != "" {
			t.Errorf("variant %q: programs (-want +got):\n%s", v, diff)
		}
		if err := s.Detach(); err != nil {
			t.Errorf("detach what was never attached: %v", err)
		}
	}
	f(Typed, "net_dev_xmit", "netif_receive_skb")
	f(Raw, "raw_net_dev_xmit", "raw_netif_receive_skb")
}

func TestSetVariable(t *testing.T) {
	spec := object(t)
	if err := SetVariable(spec, "have_sk_storage", false); err != nil {
		t.Error(err)
	}
	var got bool
	if err := spec.Variables["have_sk_storage"].Get(&got); err != nil || got {
		t.Errorf("got %v, error %v; want false", got, err)
	}
	if err := SetVariable(spec, "no_such", false); err == nil || !strings.Contains(err.Error(), "no_such") {
		t.Errorf("unknown: got %v, want an error that names it", err)
	}
	if err := SetVariable(spec, "have_sk_storage", uint64(1)); err == nil {
		t.Error("eight bytes for a bool: got no error")
	}
}

// body returns the instructions of a subprogram.
func body(p *ebpf.ProgramSpec, symbol string) (code asm.Instructions) {
	in := false
	for _, ins := range p.Instructions {
		if ins.Symbol() != "" {
			in = ins.Symbol() == symbol
		}
		if in {
			code = append(code, ins)
		}
	}
	return code
}

// TestInstallFilter puts an expression into every program, and nothing where
// there is none.
func TestInstallFilter(t *testing.T) {
	plain := object(t)
	if err := InstallFilter(plain, nil); err != nil {
		t.Fatal(err)
	}
	var have bool
	if err := plain.Variables["have_filter"].Get(&have); err != nil || have {
		t.Errorf("no expression: got a filter %v, error %v", have, err)
	}

	pair, err := filter.Programs(t.Context(), "udp port 9 and host 10.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	spec := object(t)
	if err := InstallFilter(spec, pair); err != nil {
		t.Fatal(err)
	}
	if err := spec.Variables["have_filter"].Get(&have); err != nil || !have {
		t.Errorf("an expression: got a filter %v, error %v", have, err)
	}
	for name, p := range spec.Programs {
		for _, symbol := range []string{"filter_ethernet", "filter_raw"} {
			before, after := len(body(plain.Programs[name], symbol)), len(body(p, symbol))
			if before == 0 || after <= before {
				t.Errorf("%s in %s: got %d instructions, want more than the %d of the stub", symbol, name, after, before)
			}
		}
	}
}
