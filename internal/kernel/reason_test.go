package kernel

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

func subsysEnum(names ...string) *btf.Enum {
	e := &btf.Enum{Name: "skb_drop_reason_subsys", Size: 4}
	for i, name := range append(names, "NUM") {
		e.Values = append(e.Values, btf.EnumValue{Name: subsysPrefix + name, Value: uint64(i)})
	}
	return e
}

// tableEnum numbers names from base on.
func tableEnum(name string, base uint64, names ...string) *btf.Enum {
	e := &btf.Enum{Name: name, Size: 4}
	for i, n := range names {
		e.Values = append(e.Values, btf.EnumValue{Name: n, Value: base + uint64(i)})
	}
	return e
}

// fakeModules hands out specs by name and counts what was asked for.
type fakeModules struct {
	specs map[string]*btf.Spec
	asked []string
}

// from returns a kernel's types and its modules' as loadReasons opens them.
func from(spec *btf.Spec, list func() ([]string, error), load func(string) (*btf.Spec, error)) func() typeSources {
	return func() typeSources {
		return typeSources{func() (*btf.Spec, error) { return spec, nil }, list, load}
	}
}

func (m *fakeModules) list() ([]string, error) {
	var names []string
	for name := range m.specs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (m *fakeModules) load(name string) (*btf.Spec, error) {
	m.asked = append(m.asked, name)
	if s, ok := m.specs[name]; ok {
		return s, nil
	}
	return nil, errors.New("no such module")
}

func TestReasonNames(t *testing.T) {
	spec := specOf(t, reasonEnum(),
		subsysEnum("CORE", "MAC80211_UNUSABLE", "MAC80211_MONITOR", "OPENVSWITCH", "QDISC", "NEW"),
		&btf.Enum{Name: "qdisc_drop_reason", Size: 4, Values: []btf.EnumValue{
			{Name: "QDISC_DROP_UNSPEC", Value: 0}, {Name: "__QDISC_DROP_REASON", Value: 4 << 16},
			{Name: "QDISC_DROP_GENERIC", Value: 4<<16 + 1}, {Name: "QDISC_DROP_MAX", Value: 4<<16 + 2}}})
	modules := &fakeModules{specs: map[string]*btf.Spec{
		"openvswitch": specOf(t, tableEnum("ovs_drop_reason", 3<<16, "__OVS_DROP_REASON", "OVS_DROP_LAST_ACTION", "OVS_DROP_METER")),
		"mac80211": specOf(t, &btf.Enum{Name: "___mac80211_drop_reason", Size: 4, Values: []btf.EnumValue{
			{Name: "___RX_CONTINUE", Value: 1}, {Name: "___RX_QUEUED", Value: 0},
			{Name: "___RX_DROP_UNUSABLE", Value: 1 << 16}, {Name: "___RX_DROP_U_MIC_FAIL", Value: 1<<16 + 1},
			{Name: "___RX_DROP_MONITOR", Value: 2 << 16}}}),
		"driver": specOf(t, tableEnum("new_drop_reason", 5<<16, "NEW_FIRST")),
		"other":  specOf(t, u32Type()),
	}}
	r, err := loadReasons(spec, from(spec, modules.list, modules.load))
	if err != nil {
		t.Fatal(err)
	}
	if len(modules.asked) != 0 {
		t.Errorf("got modules %v read before they are needed", modules.asked)
	}
	for _, test := range []struct {
		value             uint32
		reason, subsystem string
	}{
		{0, "NOT_DROPPED_YET", "core"},
		{1, "CONSUMED", "core"},
		{2, "NOT_SPECIFIED", "core"},
		{4, "VXLAN_NO_REMOTE", "core"},
		{5, "REASON_5", "core"}, // MAX is no reason
		{0xffff, "REASON_65535", "core"},
		{1<<16 + 1, "RX_DROP_U_MIC_FAIL", "mac80211"},
		{2 << 16, "RX_DROP_MONITOR", "mac80211"},
		{3<<16 + 2, "OVS_DROP_METER", "openvswitch"},
		{3<<16 + 9, "REASON_196617", "openvswitch"},
		{4<<16 + 1, "QDISC_DROP_GENERIC", "qdisc"},
		{4<<16 + 2, "REASON_262146", "qdisc"},
		{5 << 16, "NEW_FIRST", "new"},
		{6 << 16, "REASON_393216", "SUBSYS_6"},
		{0xffff0000, "REASON_4294901760", "SUBSYS_65535"},
	} {
		reason, subsystem := r.Name(test.value)
		if reason != test.reason || subsystem != test.subsystem {
			t.Errorf("%#x: got %s of %s, want %s of %s", test.value, reason, subsystem, test.reason, test.subsystem)
		}
	}
	if diff := cmp.Diff([]string{"NOT_SPECIFIED", "NO_SOCKET", "VXLAN_NO_REMOTE"}, r.Names()); diff != "" {
		t.Errorf("names: got + want -\n%s", diff)
	}

	asked := len(modules.asked)
	for range 100 {
		r.Name(3<<16 + 1)
		r.Name(1<<16 + 77)
	}
	if len(modules.asked) != asked {
		t.Errorf("modules read again: %v", modules.asked[asked:])
	}
}

func TestReasonsConcurrently(t *testing.T) {
	spec := specOf(t, reasonEnum(), subsysEnum("CORE", "OPENVSWITCH"))
	modules := &fakeModules{specs: map[string]*btf.Spec{"openvswitch": specOf(t, tableEnum("ovs_drop_reason", 1<<16, "__OVS_DROP_REASON", "OVS_DROP_METER"))}}
	r, err := loadReasons(spec, from(spec, modules.list, modules.load))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if reason, _ := r.Name(1<<16 + 1); reason != "OVS_DROP_METER" {
				t.Errorf("got %s, want OVS_DROP_METER", reason)
			}
		})
	}
	wg.Wait()
}

func TestReasonsManyModules(t *testing.T) {
	modules := &fakeModules{specs: map[string]*btf.Spec{}}
	var names []string
	for i := range 2 * maxModules {
		names = append(names, strings.Repeat("m", i+1))
	}
	spec := specOf(t, reasonEnum(), subsysEnum("CORE", "FOO"))
	r, err := loadReasons(spec, from(spec, func() ([]string, error) { return names, nil }, modules.load))
	if err != nil {
		t.Fatal(err)
	}
	r.Name(1 << 16)
	if got := len(modules.asked); got > maxModules+1 {
		t.Errorf("got %d modules read, want at most %d", got, maxModules+1)
	}
}

func TestKernelWithoutReasons(t *testing.T) {
	r, err := LoadReasons(specOf(t, u32Type()))
	if r != nil || err != nil {
		t.Fatalf("got %v, %v; want nil, nil", r, err)
	}
	if reason, subsystem := r.Name(3); reason != "" || subsystem != "" {
		t.Errorf("got %q of %q, want nothing", reason, subsystem)
	}
	if _, ok := r.Value("NO_SOCKET"); ok || r.Names() != nil {
		t.Error("got reasons, want none")
	}
}

func TestReasonValue(t *testing.T) {
	r, err := LoadReasons(specOf(t, reasonEnum()))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint32{"NO_SOCKET": 3, "skb_drop_reason_no_socket": 3, "NO_TX_TARGET": 4, "VXLAN_NO_REMOTE": 4} {
		if got, ok := r.Value(name); !ok || got != want {
			t.Errorf("%s: got %d %v, want %d", name, got, ok, want)
		}
	}
	if got, ok := r.Value("MAX"); ok {
		t.Errorf("MAX: got %d, want none", got)
	}
}

func TestCanonical(t *testing.T) {
	f := func(name, want string) {
		t.Helper()
		if got := Canonical(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	f("NO_SOCKET", "NO_SOCKET")
	f(" no_socket\n", "NO_SOCKET")
	f("SKB_DROP_REASON_NO_SOCKET", "NO_SOCKET")
	f("VXLAN_NO_REMOTE", "NO_TX_TARGET")
	f("skb_drop_reason_vxlan_no_remote", "NO_TX_TARGET")
	f("PTYPE_ABSENT", "UNHANDLED_PROTO")
	f("QDISC_DROP_OVERLIMIT", "QDISC_OVERLIMIT")
	f("OVS_DROP_METER", "OVS_DROP_METER")
	f("", "")
	for _, a := range aliases() {
		if again := Canonical(a.canonical); again != a.canonical {
			t.Errorf("%s: its canonical name %s has the canonical name %s", a.name, a.canonical, again)
		}
	}
}

func TestRunningKernelReasons(t *testing.T) {
	spec := runningSpec(t)
	r, err := LoadReasons(spec)
	if err != nil {
		t.Fatal(err)
	}
	args, err := KfreeSKBArgs(spec)
	if err != nil {
		t.Fatal(err)
	}
	if (r != nil) != (args.Reason >= 0) {
		t.Fatalf("got reasons: %v, but kfree_skb has its reason at %d", r != nil, args.Reason)
	}
	if r == nil {
		return // before 5.17: nothing more to compare
	}
	names := r.Names()
	t.Logf("%d reasons", len(names))
	if len(names) < 60 {
		t.Errorf("got %d names, want those of a kernel (66 in 6.1)", len(names))
	}
	for _, name := range []string{"NOT_SPECIFIED", "NO_SOCKET", "NETFILTER_DROP", "SOCKET_RCVBUFF", "QDISC_DROP"} {
		v, ok := r.Value(name)
		if !ok {
			t.Errorf("got no %s", name)
			continue
		}
		if got, subsystem := r.Name(v); got != name || subsystem != "core" {
			t.Errorf("%s: its value %d is %s of %s", name, v, got, subsystem)
		}
	}
	for id, subsystem := range r.subsys { // a module that is not there, or has no BTF, is no error
		reason, short := r.Name(id<<16 + 1)
		t.Logf("first of %s: %s of %s", subsystem, reason, short)
		_, err := os.Stat("/sys/kernel/btf/" + short)
		if err == nil && strings.HasPrefix(reason, "REASON_") && subsystem != "mac80211_monitor" {
			t.Errorf("%s: got %s, though its module has BTF", short, reason)
		}
	}
}
