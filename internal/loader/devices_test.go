package loader

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/runstate"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

const harmless = `
SEC("xdp") int pass(struct xdp_md *ctx) { return XDP_PASS; }
SEC("tc/ingress") int in(struct __sk_buff *skb) { return -1; }
SEC("tc") int out(struct __sk_buff *skb) { return 0; }
`

// wire is a namespace of the test's own with one end of a veth.
func wire(t *testing.T) *netlab.NetNS {
	t.Helper()
	need.Root(t)
	lab := netlab.New(t)
	n, far := lab.NetNS("near"), lab.NetNS("far")
	lab.Veth(n, "eth0", far, "eth0")
	return n
}

// xdpOf returns the id of the XDP program on an interface, 0 for none.
func xdpOf(n *netlab.NetNS, ifname string) uint32 {
	if xdp := n.Link(ifname).Attrs().Xdp; xdp != nil && xdp.Attached {
		return xdp.ProgId
	}
	return 0
}

func TestDevices(t *testing.T) {
	p, n := newPlace(t), wire(t)
	object := compile(t, harmless)
	classic := ""
	if need.Of(t, "tcx").Excuse(errors.New("not tried")) == nil { // this kernel may lack it
		classic = " (clsact)"
	}
	n.Do(func() error {
		r, err := try(t, p.config(Config{Object: object, Devices: []string{"eth0"}, Targets: map[string]string{"out": "eth0:egress"}}))
		if err != nil {
			return err
		}
		for program, want := range map[string]string{"pass": "eth0 XDP native", "in": "eth0 tc ingress" + classic, "out": "eth0 tc egress" + classic} {
			if s := status(t, r, program); s.Err != nil || !slices.Equal(s.Where, []string{want}) {
				t.Errorf("%s: got %v, %v; want %s", program, s.Where, s.Err, want)
			}
		}
		if got, want := xdpOf(n, "eth0"), status(t, r, "pass").ID; got != want {
			t.Errorf("got XDP program %d on the interface, want %d", got, want)
		}
		return r.Close()
	})
	if got := xdpOf(n, "eth0"); got != 0 {
		t.Errorf("got XDP program %d after the end, want none", got)
	}
	n.Do(func() error {
		_, err := try(t, p.config(Config{Object: object, Programs: []string{"pass"}, Devices: []string{"nothere"}}))
		if err == nil || !strings.Contains(err.Error(), "eth0, ") {
			t.Errorf("a missing interface: got %v, want the names of those there are", err)
		}
		_, err = try(t, p.config(Config{Object: object, Programs: []string{"pass"}}))
		if err == nil || !strings.Contains(err.Error(), "--dev") {
			t.Errorf("no interface: got %v, want that it needs --dev", err)
		}
		return nil
	})
}

// TestGeneric falls back where the driver has no XDP, and says so.
func TestGeneric(t *testing.T) {
	p, n := newPlace(t), wire(t)
	object := compile(t, harmless)
	n.Do(func() error {
		r, err := try(t, p.config(Config{Object: object, Programs: []string{"pass"}, Devices: []string{"lo"}}))
		if err != nil {
			return err
		}
		if s := status(t, r, "pass"); !slices.Equal(s.Where, []string{"lo XDP generic"}) || len(s.Notes) != 1 {
			t.Errorf("got %v, notes %q; want lo XDP generic, and a note", s.Where, s.Notes)
		}
		if err := r.Close(); err != nil {
			return err
		}
		_, err = try(t, p.config(Config{Object: object, Programs: []string{"pass"}, Devices: []string{"lo"}, Mode: Native}))
		if err == nil {
			t.Error("native mode on lo: got no error")
		}
		return nil
	})
}

// other makes a program that is not the loader's.
func other(t *testing.T, kind ebpf.ProgramType, name string, returns int32) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: kind, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm32(asm.R0, returns), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestOthersXDP names another's program, leaves it alone, and with Replace gives
// it back.
func TestOthersXDP(t *testing.T) {
	p, n := newPlace(t), wire(t)
	object := compile(t, harmless)
	theirs := other(t, ebpf.XDP, "theirs", 2)
	n.Do(func() error {
		return netlink.LinkSetXdpFdWithFlags(n.Link("eth0"), theirs.FD(), unix.XDP_FLAGS_DRV_MODE)
	})
	before := xdpOf(n, "eth0")
	cfg := p.config(Config{Object: object, Programs: []string{"pass"}, Devices: []string{"eth0"}})
	n.Do(func() error {
		if _, err := try(t, cfg); err == nil || !strings.Contains(err.Error(), "theirs") {
			t.Errorf("got %v, want that theirs is there", err)
		}
		return nil
	})
	if got := xdpOf(n, "eth0"); got != before {
		t.Errorf("got XDP program %d, want theirs, %d, left alone", got, before)
	}
	cfg.Replace = true
	n.Do(func() error {
		r, err := try(t, cfg)
		if err != nil {
			return err
		}
		if got, want := xdpOf(n, "eth0"), status(t, r, "pass").ID; got != want {
			t.Errorf("got XDP program %d, want ours, %d", got, want)
		}
		return r.Close()
	})
	if got := xdpOf(n, "eth0"); got != before {
		t.Errorf("got XDP program %d, want theirs, %d, back", got, before)
	}
}

// TestClsact attaches as on kernels before 6.6, beside another's filter or
// alone, and takes off its own only.
func TestClsact(t *testing.T) {
	object := compile(t, harmless)
	theirs := other(t, ebpf.SchedCLS, "theirs", 0)
	for _, beside := range []bool{false, true} {
		p, n := newPlace(t), wire(t)
		n.Do(func() error {
			dev := n.Link("eth0")
			if beside {
				if err := errors.Join(netlink.QdiscAdd(clsact(dev.Attrs().Index)), netlink.FilterAdd(&netlink.BpfFilter{
					FilterAttrs: netlink.FilterAttrs{LinkIndex: dev.Attrs().Index, Parent: parentOf("ingress"), Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
					Fd:          theirs.FD(), Name: "theirs", DirectAction: true,
				})); err != nil {
					return err
				}
			}
			o, err := Open(p.config(Config{Object: object, Programs: []string{"in"}}))
			if err != nil {
				return err
			}
			r, err := o.Load()
			if err != nil {
				return err
			}
			for range 2 {
				if _, err := r.addFilter(&r.status[0], r.progs["in"], dev, "ingress"); err != nil {
					return err
				}
			}
			if got := filters(t, dev); got != 2+count(beside) {
				t.Errorf("beside %v: got %d filters, want 2 of ours", beside, got)
			}
			// A crash: what remains is in the state only.
			state := r.state
			if err := r.free(false); err != nil {
				return err
			}
			if err := cleanUp(p.states, &state); err != nil {
				return err
			}
			if got := filters(t, dev); got != count(beside) {
				t.Errorf("beside %v: got %d filters after the end, want only theirs", beside, got)
			}
			has, err := hasClsact(dev)
			if has != beside {
				t.Errorf("beside %v: the qdisc is there: %v", beside, has)
			}
			return err
		})
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

func filters(t *testing.T, dev netlink.Link) int {
	t.Helper()
	list, err := netlink.FilterList(dev, parentOf("ingress"))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestNamespaceGone has nothing to remove where the namespace is gone with all
// that was in it.
func TestNamespaceGone(t *testing.T) {
	if err := removeFilter(&runstate.Filter{NetNS: 1, IfName: "eth0", IfIndex: 2, Direction: "ingress"}); err != nil {
		t.Errorf("got %v, want nothing", err)
	}
}
