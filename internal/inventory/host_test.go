package inventory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/runstate"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// stage is a host with something of each sort on it.
type stage struct {
	t      *testing.T
	cfg    Config
	notes  []string
	pins   string
	closer []func()
}

func newStage(t *testing.T) *stage {
	need.Root(t)
	s := &stage{t: t, pins: t.TempDir()}
	if err := unix.Mount("bpf", s.pins, "bpf", 0, ""); err != nil {
		t.Fatalf("mount bpffs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(s.pins, 0); err != nil {
			t.Errorf("unmount bpffs: %v", err)
		}
	})
	s.cfg = Config{States: t.TempDir(), Note: func(text string) { s.notes = append(s.notes, text) }}
	t.Cleanup(s.close)
	return s
}

// close takes all off, once.
func (s *stage) close() {
	for _, f := range slices.Backward(s.closer) {
		f()
	}
	s.closer = nil
}

func (s *stage) later(f func() error) {
	s.closer = append(s.closer, func() {
		if err := f(); err != nil {
			s.t.Error(err)
		}
	})
}

// must fails the test for an error.
func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// load loads a program that returns result.
func (s *stage) load(spec *ebpf.ProgramSpec, result int32) *ebpf.Program {
	s.t.Helper()
	spec.Instructions = append(spec.Instructions, asm.Mov.Imm(asm.R0, result), asm.Return())
	spec.License = "GPL"
	p, err := ebpf.NewProgram(spec)
	s.must(err)
	s.later(p.Close)
	return p
}

func (s *stage) keep(l link.Link, err error) uint32 {
	s.t.Helper()
	s.must(err)
	s.later(l.Close)
	info, err := l.Info()
	s.must(err)
	return uint32(info.ID)
}

func programID(t *testing.T, p *ebpf.Program) uint32 {
	t.Helper()
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	return uint32(id)
}

// find returns the program, or nil.
func (s *stage) find(id uint32) *Program {
	s.t.Helper()
	s.notes = nil
	programs, err := Programs(context.Background(), s.cfg)
	s.must(err)
	for i := range programs {
		if programs[i].ID == id {
			return &programs[i]
		}
	}
	return nil
}

// attached expects a program at exactly one place.
func (s *stage) attached(p *ebpf.Program, kind, how, where string) {
	s.t.Helper()
	got := s.find(programID(s.t, p))
	if got == nil {
		s.t.Fatalf("%s: not found", where)
	}
	if got.Kind != kind || len(got.Attached) != 1 || got.Attached[0].How != how || got.Attached[0].Where != where {
		s.t.Errorf("got %s %+v, want %s %s %q; notes %q", got.Kind, got.Attached, kind, how, where, s.notes)
	}
}

const longName = "inventory_finds_the_whole_name"

// rawTracepoint loads a program with a map and a long name, attaches and pins it.
func (s *stage) rawTracepoint() (p *ebpf.Program, m *ebpf.Map) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "inventory_map", Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: 16})
	s.must(err)
	s.later(m.Close)
	first := btf.WithFuncMetadata(asm.LoadMapPtr(asm.R1, m.FD()).WithSymbol(longName), &btf.Func{
		Name: longName, Linkage: btf.GlobalFunc,
		Type: &btf.FuncProto{Return: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}},
	})
	p = s.load(&ebpf.ProgramSpec{Name: longName, Type: ebpf.RawTracepoint, Instructions: asm.Instructions{first}}, 0)
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "task_rename", Program: p})
	s.keep(l, err)
	s.must(os.Mkdir(filepath.Join(s.pins, "sub"), 0o700))
	s.must(p.Pin(filepath.Join(s.pins, "sub", "prog")))
	s.must(l.Pin(filepath.Join(s.pins, "link")))
	s.must(m.Pin(filepath.Join(s.pins, "map")))
	s.must(os.Symlink("map", filepath.Join(s.pins, "other")))
	s.later(func() error { return os.Remove(filepath.Join(s.pins, "link")) })
	s.later(func() error { return os.Remove(filepath.Join(s.pins, "map")) })
	s.later(func() error { return os.Remove(filepath.Join(s.pins, "sub", "prog")) })
	return p, m
}

func mapID(t *testing.T, m *ebpf.Map) uint32 {
	t.Helper()
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	return uint32(id)
}

func TestProgramsAndMaps(t *testing.T) {
	s := newStage(t)
	p, m := s.rawTracepoint()
	id, mid := programID(t, p), mapID(t, m)
	s.must(runstate.Write(s.cfg.States, &runstate.State{Name: "mine", Object: "/x.o", Programs: []runstate.Program{{Name: "p", ID: id}},
		Maps: []runstate.Map{{Name: "inventory_map", ID: mid}}}))

	got := s.find(id)
	if got == nil {
		t.Fatal("the program is not found")
	}
	if got.Name != longName || got.Kind != "raw_tp" || got.Object != "mine" || !got.Netfate || len(got.Tag) != 16 || got.Memory == 0 {
		t.Errorf("got %+v", got)
	}
	if got.Instructions == 0 {
		if err := (need.Feature{What: "the number of instructions", Since: "5.16"}).Excuse(errors.New("it is 0")); err != nil {
			t.Error(err)
		}
	}
	if since := time.Since(got.Loaded); since < -time.Second || since > time.Minute {
		t.Errorf("loaded %v ago", since)
	}
	if !slices.Equal(got.Maps, []uint32{mid}) {
		t.Errorf("maps: got %v, want %d", got.Maps, mid)
	}
	if want := []string{s.pins + "/link", s.pins + "/sub/prog"}; !slices.Equal(got.Pins, want) {
		t.Errorf("pins: got %q, want %q", got.Pins, want)
	}
	s.attached(p, "raw_tp", "link", "task_rename")
	self := func(owners []Owner) bool {
		return len(owners) == 1 && owners[0].PID == os.Getpid() && owners[0].Comm != ""
	}
	if !self(got.Owners) {
		t.Errorf("owners: got %+v", got.Owners)
	}

	maps, err := Maps(context.Background(), s.cfg)
	s.must(err)
	i := slices.IndexFunc(maps, func(m Map) bool { return m.ID == mid })
	if i < 0 {
		t.Fatal("the map is not found")
	}
	if m := maps[i]; m.Name != "inventory_map" || m.Type != "Hash" || m.KeySize != 4 || m.ValueSize != 8 || m.MaxEntries != 16 || m.Memory == 0 ||
		!slices.Equal(m.Programs, []uint32{id}) || !self(m.Owners) || !slices.Equal(m.Pins, []string{s.pins + "/map"}) || m.Object != "mine" {
		t.Errorf("got %+v", m)
	}
	s.close()
	netlab.WaitFor(t, "the program to be gone", func() bool { return s.find(id) == nil })
}

func TestRunsAreCounted(t *testing.T) {
	s := newStage(t)
	p, _ := s.rawTracepoint()
	id := programID(t, p)
	before := s.find(id)
	on, err := EnableStats()
	s.must(err)
	s.must(os.WriteFile("/proc/thread-self/comm", []byte("renamed"), 0))
	s.must(on.Close())
	after := s.find(id)
	if after.Runs <= before.Runs || after.RunTime <= before.RunTime {
		t.Errorf("got %d runs of %v, before %d of %v", after.Runs, after.RunTime, before.Runs, before.RunTime)
	}
}

func TestWhereAttached(t *testing.T) {
	s := newStage(t)
	tracing := s.load(&ebpf.ProgramSpec{Name: "tp_btf", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "task_rename"}, 0)
	s.keep(link.AttachTracing(link.TracingOptions{Program: tracing}))
	s.attached(tracing, "tp_btf", "link", "task_rename")

	lookup := s.load(&ebpf.ProgramSpec{Name: "lookup", Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup}, 1)
	lab := netlab.New(t)
	a, b := lab.NetNS("a"), lab.NetNS("b")
	lab.Veth(a, "va", b, "vb")
	ns, err := os.Open(a.Path())
	s.must(err)
	defer ns.Close()
	s.keep(link.AttachNetNs(int(ns.Fd()), lookup))
	s.attached(lookup, "sk_lookup", "link", "netns "+filepath.Base(a.Path()))

	s.interfaces(a)
	s.cgroups()
	s.others()
	s.newer("tcx", func() { s.tcx(a) })
	s.newer("netfilter", func() { s.netfilter(a) })
	s.uretprobe()
	if len(s.notes) > 0 {
		t.Errorf("notes: %q", s.notes)
	}
}

// newer runs a part of the test by itself, which some kernels cannot.
func (s *stage) newer(name string, f func()) {
	outer := s.t
	defer func() { s.t = outer }()
	outer.Run(name, func(t *testing.T) {
		s.t = t
		f()
	})
}

// onInterface is where inventory says that an interface's program is.
func onInterface(a *netlab.NetNS, what string) string {
	return fmt.Sprintf("va (netns %s) %s", filepath.Base(a.Path()), what)
}

// interfaces tries the ways onto an interface of another namespace.
func (s *stage) interfaces(a *netlab.NetNS) {
	xdp := s.load(&ebpf.ProgramSpec{Name: "xdp", Type: ebpf.XDP}, 2)
	old := s.load(&ebpf.ProgramSpec{Name: "old", Type: ebpf.SchedCLS}, -1)
	index := a.Index("va")
	a.Do(func() error {
		x, err := link.AttachXDP(link.XDPOptions{Interface: index, Program: xdp, Flags: link.XDPGenericMode})
		s.keep(x, err)
		return nil
	})
	qdisc := &netlink.GenericQdisc{QdiscType: "clsact", QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Parent: netlink.HANDLE_CLSACT, Handle: netlink.MakeHandle(0xffff, 0)}}
	s.must(a.Netlink().QdiscAdd(qdisc))
	s.must(a.Netlink().FilterAdd(&netlink.BpfFilter{Fd: old.FD(), Name: "old", DirectAction: true, FilterAttrs: netlink.FilterAttrs{
		LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL}}))
	s.attached(xdp, "xdp", "link", onInterface(a, "xdp generic"))
	s.attached(old, "tc", "tc", onInterface(a, "tc ingress (clsact)"))
}

func (s *stage) tcx(a *netlab.NetNS) {
	need.Capability(s.t, "tcx")
	p := s.load(&ebpf.ProgramSpec{Name: "tcx", Type: ebpf.SchedCLS}, -1)
	a.Do(func() error {
		l, err := link.AttachTCX(link.TCXOptions{Interface: a.Index("va"), Program: p, Attach: ebpf.AttachTCXEgress})
		s.keep(l, err)
		return nil
	})
	s.attached(p, "tc", "link", onInterface(a, "tc egress"))
}

// cgroups tries a link and the way of old on a cgroup of the test's own.
func (s *stage) cgroups() {
	dir := filepath.Join(kernel.ReadMounts().Cgroup2, fmt.Sprintf("inventory-test-%d", os.Getpid()))
	s.must(os.Mkdir(dir, 0o700))
	defer os.Remove(dir)
	linked := s.load(&ebpf.ProgramSpec{Name: "linked", Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetEgress}, 1)
	s.keep(link.AttachCgroup(link.CgroupOptions{Path: dir, Attach: ebpf.AttachCGroupInetEgress, Program: linked}))
	s.attached(linked, "cgroup", "link", dir+" egress")
	old := s.load(&ebpf.ProgramSpec{Name: "unlinked", Type: ebpf.CGroupSockAddr, AttachType: ebpf.AttachCGroupInet4Connect}, 1)
	group, err := os.Open(dir)
	s.must(err)
	defer group.Close()
	s.must(link.RawAttachProgram(link.RawAttachProgramOptions{Target: int(group.Fd()), Program: old, Attach: ebpf.AttachCGroupInet4Connect}))
	s.attached(old, "cgroup", "cgroup", dir+" connect4")
	s.must(link.RawDetachProgram(link.RawDetachProgramOptions{Target: int(group.Fd()), Program: old, Attach: ebpf.AttachCGroupInet4Connect}))
}

// others tries links whose place the kernel tells in other ways.
func (s *stage) others() {
	iter := s.load(&ebpf.ProgramSpec{Name: "iter", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "task"}, 0)
	i, err := link.AttachIter(link.IterOptions{Program: iter})
	s.keep(i, err)
	s.attached(iter, "iter", "link", "task")
}

func (s *stage) netfilter(a *netlab.NetNS) {
	need.Capability(s.t, "netfilter")
	filter := s.load(&ebpf.ProgramSpec{Name: "filter", Type: ebpf.Netfilter, AttachType: ebpf.AttachNetfilter}, 1)
	a.Do(func() error {
		s.keep(link.AttachNetfilter(link.NetfilterOptions{Program: filter, ProtocolFamily: link.NetfilterProtoIPv4, Hook: link.NetfilterInetLocalIn, Priority: -7}))
		return nil
	})
	s.attached(filter, "netfilter", "link", "ip input priority -7")
}

// uretprobe has a probe, which hangs on a link from 5.15 on, and on a perf event
// alone before.
func (s *stage) uretprobe() {
	probe := s.load(&ebpf.ProgramSpec{Name: "probe", Type: ebpf.Kprobe}, 0)
	self, err := os.Executable()
	s.must(err)
	exe, err := link.OpenExecutable(self)
	s.must(err)
	l, err := exe.Uretprobe("main.main", probe, &link.UprobeOptions{Address: 0x1000})
	s.must(err)
	s.later(l.Close)
	how := "link"
	if _, err := l.Info(); errors.Is(err, link.ErrNotSupported) {
		how = "perf event"
	}
	s.attached(probe, "uretprobe", how, self+"+0x1000")
}

// TestProcOutOfReach has no procfs: what cannot be told is said.
func TestProcOutOfReach(t *testing.T) {
	s := newStage(t)
	p, _ := s.rawTracepoint()
	s.cfg.Proc = filepath.Join(t.TempDir(), "file")
	s.must(os.WriteFile(s.cfg.Proc, nil, 0o600))
	got := s.find(programID(t, p))
	if got == nil || len(got.Owners) != 0 || got.Kind != "raw_tp" {
		t.Errorf("got %+v", got)
	}
	if !slices.ContainsFunc(s.notes, func(n string) bool { return strings.HasPrefix(n, "processes: ") }) {
		t.Errorf("got notes %q", s.notes)
	}
}

// TestFast holds one look at this host to what a screen that redraws can bear.
func TestFast(t *testing.T) {
	s := newStage(t)
	s.rawTracepoint()
	// These two have all namespaces and cgroups asked.
	s.load(&ebpf.ProgramSpec{Name: "tc", Type: ebpf.SchedCLS}, -1)
	s.load(&ebpf.ProgramSpec{Name: "connect", Type: ebpf.CGroupSockAddr, AttachType: ebpf.AttachCGroupInet4Connect}, 1)
	best := time.Hour
	for range 5 {
		start := time.Now()
		s.find(0)
		best = min(best, time.Since(start))
	}
	t.Logf("one look: %v", best)
	if best > 100*time.Millisecond {
		t.Errorf("got %v, want 100 ms at most", best)
	}
}
