package counters

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

var update = flag.Bool("update", false, "record this kernel's answers and rewrite golden files")

// TestGolden parses what several kernels answered.
func TestGolden(t *testing.T) {
	records, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(records) < 4 {
		t.Fatalf("recordings: got %q, error %v; want those of four kernels", records, err)
	}
	for _, file := range records {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			spaces := unarchive(text)
			for _, name := range sortedKeys(spaces) {
				var host Host
				r := New()
				v := reading{Reader: r, source: spaces[name], lost: losses{}}
				v.host(&host)
				dump(&got, name+".Host", reflect.ValueOf(host))
				var n Namespace
				if lost := read(r, spaces[name], &n); len(lost) > 0 {
					t.Errorf("lost %v, want nothing", lost)
				}
				dump(&got, name, reflect.ValueOf(n))
			}
			compareGolden(t, strings.TrimSuffix(file, ".txtar")+".golden", got.String())
		})
	}
}

func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; run go test -update", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got), -update rewrites it:\n%s", file, diff)
	}
}

// TestRecord writes down what this kernel answers, with -update. In a guest:
//
//	go test -c -o /tmp/counters.test ./internal/ledger/counters
//	cd internal/ledger/counters && ../../../test/vm/run -o testdata 6.1 /tmp/counters.test -test.run TestRecord -update
//
// then go test -update rewrites the golden files.
func TestRecord(t *testing.T) {
	need.Root(t)
	if !*update {
		need.Time(t)
	}
	left, right := busyLab(t)
	spaces := map[string]map[string]string{}
	for name, space := range map[string]*netlab.NetNS{"left": left, "right": right} {
		said := map[string]string{}
		spaces[name] = said
		var gaps []Gap
		space.Do(func() error {
			l, err := open()
			if err != nil {
				return err
			}
			defer l.close()
			src := recorder{l, said}
			r := New()
			v := reading{Reader: r, source: src, lost: losses{}}
			v.host(&Host{})
			var n Namespace
			read(r, src, &n)
			gaps = n.Gaps
			return nil
		})
		for _, g := range gaps {
			if g.Part != PartXfrm { // some kernels are built without its statistics
				t.Errorf("%s: gap %+v, want none", name, g)
			}
		}
	}
	if !*update {
		return
	}
	kernel := os.Getenv("NETFATE_VM")
	if kernel == "" {
		var uts unix.Utsname
		if err := unix.Uname(&uts); err != nil {
			t.Fatal(err)
		}
		major, rest, _ := strings.Cut(unix.ByteSliceToString(uts.Release[:]), ".")
		minor, _, _ := strings.Cut(rest, ".")
		kernel = major + "." + minor
	}
	if err := os.WriteFile(filepath.Join("testdata", kernel+".txtar"), archive(spaces), 0o644); err != nil {
		t.Fatal(err)
	}
}

// returning is a program that does nothing but return a value.
func returning(t *testing.T, kind ebpf.ProgramType, name string, value int32) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: kind, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, value), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// busyLab makes two namespaces that have something of everything that this
// kernel has, and have lost some packets.
func busyLab(t *testing.T) (left, right *netlab.NetNS) {
	lab := netlab.New(t)
	left, right = lab.NetNS("left"), lab.NetNS("right")
	lab.Veth(left, "v0", right, "v0")
	lab.Veth(left, "v1", right, "v1")
	left.Addr("v0", "10.6.0.1/24")
	right.Addr("v0", "10.6.0.2/24")
	left.Addr("v1", "10.6.1.1/24")
	right.Addr("v1", "10.6.1.2/24")

	// Queues.
	left.Exec("tc", "qdisc", "add", "dev", "v0", "root", "tbf", "rate", "100kbit", "burst", "3000", "limit", "3000")
	left.Exec("tc", "qdisc", "add", "dev", "v1", "root", "handle", "1:", "htb", "default", "10")
	left.Exec("tc", "class", "add", "dev", "v1", "parent", "1:", "classid", "1:10", "htb", "rate", "10mbit")
	left.Exec("tc", "qdisc", "add", "dev", "v1", "parent", "1:10", "handle", "10:", "pfifo", "limit", "7")
	for _, optional := range []string{
		"qdisc add dev v1 clsact",
		"filter add dev v1 egress protocol ip prio 5 matchall action drop",
		"filter add dev v1 parent 1: protocol ip prio 1 u32 match ip dport 99 0xffff classid 1:10",
	} {
		if out, err := left.TryExec(append([]string{"tc"}, strings.Fields(optional)...)...); err != nil {
			t.Logf("tc %s: %v: %s", optional, err, out)
		}
	}
	for _, optional := range []string{"fq_codel limit 100", "fq limit 200", "codel limit 30", "sfq limit 20", "netem limit 40", "bfifo limit 5000", "cake"} {
		name := "q" + strings.Fields(optional)[0]
		lab.Veth(left, name, right, name)
		if out, err := left.TryExec(append(strings.Fields("tc qdisc add dev "+name+" root"), strings.Fields(optional)...)...); err != nil {
			t.Logf("tc %s: %v: %s", optional, err, out)
		}
	}

	// Devices.
	right.Bridge("br0", "v1")
	for _, optional := range []string{
		"link add link v0 name v0.7 type vlan id 7", "link add vx0 type vxlan id 7 dstport 4789 local 10.6.0.2",
		"tuntap add dev tun0 mode tun", "link add dummy0 type dummy", "link add link v0 name mv0 type macvlan",
	} {
		if out, err := right.TryExec(append([]string{"ip"}, strings.Fields(optional)...)...); err != nil {
			t.Logf("ip %s: %v: %s", optional, err, out)
		}
	}

	// Programs.
	pass := returning(t, ebpf.XDP, "xdp_pass", 2)
	right.Do(func() error {
		return netlink.LinkSetXdpFdWithFlags(right.Link("v0"), pass.FD(), unix.XDP_FLAGS_DRV_MODE)
	})
	classifier := returning(t, ebpf.SchedCLS, "tc_next", -1)
	right.Exec("tc", "qdisc", "add", "dev", "br0", "clsact")
	check(t, "attach filter", right.Netlink().FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: right.Index("br0"), Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 9},
		Fd:          classifier.FD(), Name: "section", DirectAction: true,
	}))
	attachTCX(t, right, classifier)

	// Rules.
	right.NFT(`table inet t {
		counter named { }
		chain in { type filter hook input priority 0; policy accept;
			udp dport 9 counter drop
			udp dport 10 counter name named drop
			tcp dport 9 counter reject
			ct state invalid drop
		}
		chain through { type filter hook forward priority 0; policy drop; }
	}`)

	// Sockets, and losses.
	full := right.ListenUDP("10.6.0.2:8")
	check(t, "set buffer", full.SetReadBuffer(2048))
	right.ListenTCP("10.6.0.2:80")
	packets := right.Packets("v0", unix.ETH_P_ALL)
	packets.SetInt(unix.SOL_SOCKET, unix.SO_RCVBUF, 2304)
	left.Datagrams("10.6.0.2:9", 3, 100)
	left.Datagrams("10.6.0.2:10", 4, 100)
	left.Datagrams("10.6.0.2:8", 30, 400)
	left.Datagrams("10.6.1.2:9", 2, 100)
	return left, right
}

// attachTCX attaches a program by tcx, where there is tcx.
func attachTCX(t *testing.T, space *netlab.NetNS, p *ebpf.Program) {
	t.Helper()
	space.Do(func() error {
		l, err := link.AttachTCX(link.TCXOptions{Interface: space.Index("v1"), Program: p, Attach: ebpf.AttachTCXEgress})
		if errors.Is(err, ebpf.ErrNotSupported) {
			return nil
		}
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		return nil
	})
}

func check(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
