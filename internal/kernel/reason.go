package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"
)

const (
	// reasonPrefix starts the name of each core reason. The kernel leaves it
	// out where it prints one, and so do we.
	reasonPrefix = "SKB_DROP_REASON_"
	// subsysPrefix starts the name of each value of enum skb_drop_reason_subsys.
	subsysPrefix = "SKB_DROP_REASON_SUBSYS_"
	// subsysShift is SKB_DROP_REASON_SUBSYS_SHIFT: the upper half of a reason
	// is the subsystem that it belongs to.
	subsysShift = 16
	// maxModules bounds how many modules are searched for a table of reasons.
	maxModules = 512
)

// Reasons are the names of the running kernel's drop reasons. Their values
// are no ABI: they differ between kernels and move within a stable series. A
// nil *Reasons is that of a kernel without reasons (before 5.17).
//
// A subsystem's names are read from the BTF of its module when the first of
// its values is looked up, once; the methods may be called concurrently.
type Reasons struct {
	core   map[uint32]string
	values map[string]uint32 // by name, core only
	subsys map[uint32]string // id to name: core, mac80211, openvswitch, qdisc …

	open func() typeSources

	mu     sync.Mutex
	tables map[uint32]map[uint32]string
}

// typeSources are where the BTF of the kernel and of its modules is read from.
// They are opened for each subsystem anew: decoded types take some 10 MB, and
// most hosts never see a reason of a subsystem.
type typeSources struct {
	kernel  func() (*btf.Spec, error)
	modules func() ([]string, error)
	module  func(name string) (*btf.Spec, error)
}

// LoadReasons reads the drop reasons from spec, the kernel's BTF. It returns
// nil, without an error, for a kernel that has none.
func LoadReasons(spec *btf.Spec) (*Reasons, error) {
	return loadReasons(spec, func() typeSources {
		types := btf.NewCache()
		return typeSources{types.Kernel, types.Modules, types.Module}
	})
}

func loadReasons(spec *btf.Spec, open func() typeSources) (*Reasons, error) {
	core, err := enumValues(spec, "skb_drop_reason")
	if errors.Is(err, btf.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read drop reasons: %w", err)
	}
	r := &Reasons{
		core: make(map[uint32]string, len(core)), values: make(map[string]uint32, len(core)),
		subsys: map[uint32]string{0: "core"},
		open:   open, tables: make(map[uint32]map[uint32]string),
	}
	for _, v := range core {
		name, isReason := strings.CutPrefix(v.Name, reasonPrefix)
		switch name {
		case "MAX", "SUBSYS_MASK":
			continue
		}
		if !isReason {
			name = strings.TrimPrefix(v.Name, "SKB_") // NOT_DROPPED_YET, CONSUMED
		}
		r.core[uint32(v.Value)] = name
		r.values[name] = uint32(v.Value)
	}
	subsystems, err := enumValues(spec, "skb_drop_reason_subsys") // 6.4
	if err != nil && !errors.Is(err, btf.ErrNotFound) {
		return nil, fmt.Errorf("read drop reason subsystems: %w", err)
	}
	for _, v := range subsystems {
		name := strings.ToLower(strings.TrimPrefix(v.Name, subsysPrefix))
		if name == "num" {
			continue
		}
		r.subsys[uint32(v.Value)] = name
	}
	return r, nil
}

// Name returns the name of reason v and the subsystem that it belongs to:
// core, mac80211, openvswitch, qdisc or what else the kernel declares.
//
// The name is the one in the kernel's source without SKB_DROP_REASON_:
// NO_SOCKET, OVS_DROP_METER, RX_DROP_U_MIC_FAIL. Subsystems' own prefixes
// stay, as drop_monitor and the kernel's own tables have them: without, a
// name like CONGESTED would say little and could clash. A value without a
// name is REASON_ and its number, in a subsystem without a name SUBSYS_ and
// its number. Both are empty on a kernel without reasons.
func (r *Reasons) Name(v uint32) (reason, subsystem string) {
	if r == nil {
		return "", ""
	}
	id := v >> subsysShift
	subsystem, known := r.subsys[id]
	if !known {
		return "REASON_" + strconv.FormatUint(uint64(v), 10), "SUBSYS_" + strconv.FormatUint(uint64(id), 10)
	}
	table := r.core
	if id != 0 {
		table = r.table(id, subsystem)
	}
	reason, known = table[v]
	if !known {
		reason = "REASON_" + strconv.FormatUint(uint64(v), 10)
	}
	return reason, shortSubsystem(subsystem)
}

// Names returns the names of all core reasons in the order of their values,
// without those that mean no drop. It is nil on a kernel without reasons.
func (r *Reasons) Names() []string {
	if r == nil {
		return nil
	}
	var values []uint32
	for v, name := range r.core {
		if name != "NOT_DROPPED_YET" && name != "CONSUMED" {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = r.core[v]
	}
	return names
}

// Value returns the running kernel's number for a core reason by its name or
// by one that it has on another kernel; ok is false if there is none.
func (r *Reasons) Value(name string) (v uint32, ok bool) {
	if r == nil {
		return 0, false
	}
	if v, ok = r.values[name]; ok {
		return v, true
	}
	want := Canonical(name)
	if v, ok = r.values[want]; ok {
		return v, true
	}
	for _, a := range aliases() {
		if a.canonical == want {
			if v, ok = r.values[a.name]; ok {
				return v, true
			}
		}
	}
	return 0, false
}

// table returns the names of one subsystem, reading them the first time. It
// is empty if they are nowhere to be found: then the module has no BTF.
func (r *Reasons) table(id uint32, subsystem string) map[uint32]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if table, ok := r.tables[id]; ok {
		return table
	}
	table := r.findTable(id, subsystem)
	r.tables[id] = table
	return table
}

// findTable looks for a subsystem's enum in the kernel itself, then in the
// module named like it, then in the other modules that are loaded.
func (r *Reasons) findTable(id uint32, subsystem string) map[uint32]string {
	short := shortSubsystem(subsystem)
	names := []string{short + "_drop_reason"}
	if short == "openvswitch" {
		names = append(names, "ovs_drop_reason")
	}
	from := r.open()
	kernel, err := from.kernel()
	if err != nil {
		return nil // it was there when the reasons were read
	}
	if table := namedTable(kernel, id, names); table != nil {
		return table
	}
	if spec, err := from.module(short); err == nil {
		if table := namedTable(spec, id, names); table != nil {
			return table
		}
		if table := scannedTable(spec, id, short); table != nil {
			return table
		}
	}
	modules, err := from.modules()
	if err != nil {
		modules = nil // no sysfs: the kernel itself is left
	}
	for _, name := range modules[:min(len(modules), maxModules)] {
		if name == short {
			continue
		}
		spec, err := from.module(name)
		if err != nil {
			continue // unloaded meanwhile, or without BTF
		}
		if table := namedTable(spec, id, names); table != nil {
			return table
		}
	}
	return scannedTable(kernel, id, short) // built in: some 100 ms, once
}

// namedTable reads a subsystem's names from the first of the enums that holds
// any, or returns nil if spec has none.
func namedTable(spec *btf.Spec, id uint32, enums []string) map[uint32]string {
	for _, name := range enums {
		values, err := enumValues(spec, name)
		if err != nil {
			continue
		}
		if table := reasonTable(values, id); table != nil {
			return table
		}
	}
	return nil
}

// scannedTable reads a subsystem's names from the enum ___NAME_drop_reason,
// which is how mac80211 names the one that it uses. No lookup by name finds
// it: cilium/ebpf indexes what is before "___" and takes it for a flavour.
func scannedTable(spec *btf.Spec, id uint32, short string) map[uint32]string {
	for t, err := range spec.All() {
		if err != nil {
			return nil
		}
		if enum, ok := t.(*btf.Enum); ok && enum.Name == "___"+short+"_drop_reason" {
			return reasonTable(enum.Values, id)
		}
	}
	return nil
}

// reasonTable keeps the values that are reasons of subsystem id. Markers such
// as QDISC_DROP_UNSPEC (0), ___RX_CONTINUE (1) and QDISC_DROP_MAX are none.
func reasonTable(values []btf.EnumValue, id uint32) map[uint32]string {
	table := make(map[uint32]string, len(values))
	for _, v := range values {
		if uint32(v.Value)>>subsysShift == id && !strings.HasSuffix(v.Name, "_DROP_MAX") {
			table[uint32(v.Value)] = strings.TrimPrefix(strings.TrimLeft(v.Name, "_"), reasonPrefix)
		}
	}
	if len(table) == 0 {
		return nil
	}
	return table
}

// shortSubsystem names a subsystem as its code is named: mac80211 has had two,
// mac80211_unusable and mac80211_monitor.
func shortSubsystem(name string) string {
	if strings.HasPrefix(name, "mac80211_") {
		return "mac80211"
	}
	return name
}

// enumValues returns the values of enum name; btf.ErrNotFound if there is none.
func enumValues(spec *btf.Spec, name string) ([]btf.EnumValue, error) {
	types, err := spec.AnyTypesByName(name)
	if err != nil {
		return nil, err
	}
	for _, t := range types {
		if enum, ok := t.(*btf.Enum); ok {
			return enum.Values, nil
		}
	}
	return nil, fmt.Errorf("enum %s: %w", name, btf.ErrNotFound)
}

// alias is a name that a reason has on some kernels.
type alias struct{ name, canonical string }

// aliases lists the reasons that had another name before or after. The
// canonical name is that of Linux 6.18.
func aliases() []alias {
	return []alias{
		{"TCP_FILTER", "SOCKET_FILTER"},                       // 5.17-rc; 364df53c081d
		{"PTYPE_ABSENT", "UNHANDLED_PROTO"},                   // 5.18; 9f8ed577c288
		{"VXLAN_NO_REMOTE", "NO_TX_TARGET"},                   // 6.12; renamed in 6.14 and in 6.12.46
		{"QDISC_DROP_GENERIC", "QDISC_DROP"},                  // 7.x, as are those below: the
		{"QDISC_DROP_OVERLIMIT", "QDISC_OVERLIMIT"},           // reasons of qdiscs became a
		{"QDISC_DROP_CONGESTED", "QDISC_CONGESTED"},           // subsystem with the tracepoint
		{"QDISC_DROP_FLOOD_PROTECTION", "CAKE_FLOOD"},         // qdisc_drop, and lost the names
		{"QDISC_DROP_BAND_LIMIT", "FQ_BAND_LIMIT"},            // of single qdiscs
		{"QDISC_DROP_HORIZON_LIMIT", "FQ_HORIZON_LIMIT"},      //
		{"QDISC_DROP_FLOW_LIMIT", "FQ_FLOW_LIMIT"},            //
		{"QDISC_DROP_L4S_STEP_NON_ECN", "DUALPI2_STEP_DROP"},  //
		{"QDISC_DROP_CAKE_FLOOD", "CAKE_FLOOD"},               // the subsystem's first version
		{"QDISC_DROP_FQ_BAND_LIMIT", "FQ_BAND_LIMIT"},         //
		{"QDISC_DROP_FQ_HORIZON_LIMIT", "FQ_HORIZON_LIMIT"},   //
		{"QDISC_DROP_FQ_FLOW_LIMIT", "FQ_FLOW_LIMIT"},         //
		{"QDISC_DROP_DUALPI2_STEP_DROP", "DUALPI2_STEP_DROP"}, //
	}
}

// Canonical returns the one name that a reason goes by on all kernels, so that
// what is keyed by reason need know only that: the name in Linux 6.18 of a
// reason that was renamed before or after. It takes what people type, too:
// any case, with or without SKB_DROP_REASON_. Other names come back as they
// are, in upper case.
func Canonical(name string) string {
	name = strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(name)), reasonPrefix)
	for _, a := range aliases() {
		if a.name == name {
			return a.canonical
		}
	}
	return name
}
