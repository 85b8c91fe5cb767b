package loader

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/netfate/netfate/internal/eventtype"
	"github.com/netfate/netfate/internal/section"
	"github.com/netfate/netfate/internal/value"
)

// Report is what an object holds, and what this kernel lacks for it. All lists
// are sorted by name.
type Report struct {
	Programs []ProgramReport
	Maps     []MapReport
	Globals  []GlobalReport
	Events   []EventReport
	Notes    []string // sentences about the whole
}

// ProgramReport is one program.
type ProgramReport struct {
	Name         string
	Section      string
	Kind         string // empty if the section is unknown
	Where        string // where it would attach, or the flag that is to say so
	Active       string // what it could do besides watching; empty if it only watches
	Optional     bool   // runs only if it is named
	Sleepable    bool
	Dialect      bool   // libbpf does not know this spelling of the section
	Instructions int    // as the kernel counts them, functions that it calls included
	Asked        bool   // the kernel was asked whether it has what this takes
	Lacks        string // why it cannot run here, as far as that can be told; empty if nothing is known
}

// MapReport is one map.
type MapReport struct {
	Name       string
	Type       string
	Key, Value string // types, or sizes in bytes if the object has no types
	MaxEntries uint32 // as it would be made, in bytes for ring buffers; 0 if it has no such bound
	Pinned     bool   // it asks to be pinned by its name
	Fixed      string // what would be changed so that the kernel takes it; mostly empty
	Lacks      string // why it cannot be made here
}

// GlobalReport is one global or static variable.
type GlobalReport struct {
	Name    string
	Type    string // empty if the object has no types
	Default string // its value as --set would take it, or as text
	Section string // .rodata, .data or .bss
	Set     string // the flag that sets it; empty if it cannot be set
}

// EventReport is what one ring buffer or perf event array carries.
type EventReport struct {
	Map        string
	Type       string   // empty if it is not known
	Size       int      // bytes of an event, 0 if it is not known or varies
	Source     string   // how the type is known
	Candidates []string // types that it could be
	Note       string
}

// Inspect reads an object and loads nothing of it. The kernel is asked, by loading
// programs and maps of the library's own and closing them at once, whether it
// knows what the object needs: once for each kind. Only Object and Events of cfg
// count. The error is about the file, or a *UsageError about Events.
func Inspect(cfg Config) (*Report, error) {
	f, err := os.Open(cfg.Object)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open object: there is no file %s", cfg.Object)
	}
	if err != nil {
		return nil, fmt.Errorf("open object: %w", err)
	}
	defer f.Close()
	spec, err := readObject(f, cfg.Object)
	if err != nil {
		return nil, unreadable(f, cfg.Object, err)
	}
	events, err := eventtype.Find(f, spec, cfg.Events)
	if err != nil {
		return nil, &UsageError{err}
	}
	r := &Report{}
	host := newHost()
	r.addEvents(events)
	r.addGlobals(spec)
	r.addPrograms(spec, host)
	r.addMaps(spec, host)
	if len(r.Programs) == 0 {
		r.note("it has no programs: are its functions in SEC(…), and was it linked from all its parts?")
	}
	if spec.Types == nil {
		r.note("it has no types (BTF): values and events are shown as hex, and globals cannot be set; compile with -g")
	}
	for _, note := range host.notes {
		r.note("%s", note)
	}
	return r, nil
}

func (r *Report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// unreadable says of a file that is no BPF object what it seems to be.
func unreadable(f *os.File, path string, err error) error {
	info, statErr := f.Stat()
	if statErr != nil || !info.Mode().IsRegular() {
		return err
	}
	var magic [4]byte
	n, _ := f.ReadAt(magic[:], 0) // what is not there is not ELF's
	switch {
	case info.Size() == 0:
		return fmt.Errorf("read %s: the file is empty", path)
	case n < len(magic) || string(magic[:]) != "\x7fELF":
		return fmt.Errorf("read %s: this is no ELF file; give an object that clang -target bpf has made", path)
	case strings.Contains(err.Error(), "unexpected machine type"):
		_, machine, _ := strings.Cut(err.Error(), "ELF: ")
		return fmt.Errorf("read %s: this ELF file is for another machine (%s), not for BPF; compile it with clang -target bpf", path, machine)
	case strings.HasSuffix(err.Error(), "EOF"):
		return fmt.Errorf("read %s: the file ends early; was it copied or compiled to its end?", path)
	}
	return err
}

func (r *Report) addEvents(events map[string]eventtype.Event) {
	for _, name := range sorted(events) {
		e := events[name]
		r.Events = append(r.Events, EventReport{name, typeName(e.Type), e.Size, e.Source, e.Candidates, e.Note})
	}
}

func (r *Report) addPrograms(spec *ebpf.CollectionSpec, host *hostView) {
	for _, name := range sorted(spec.Programs) {
		p := spec.Programs[name]
		row := ProgramReport{Name: name, Section: p.SectionName}
		for i := range p.Instructions {
			row.Instructions += int(p.Instructions[i].Width())
		}
		if s, err := section.Parse(p.SectionName); err != nil {
			row.Lacks = err.Error()
		} else {
			prog := &Program{Name: name, Section: s, Spec: p}
			row.Kind, row.Where, row.Active, row.Lacks = string(s.Kind), placeOf(prog), active(prog), host.lacksProgram(prog)
			row.Optional, row.Sleepable, row.Dialect, row.Asked = s.Optional, s.Sleepable, s.Dialect, host.mayProbe
		}
		r.Programs = append(r.Programs, row)
	}
}

// placeOf says where a program would attach, or what says so.
func placeOf(p *Program) string {
	s := &p.Section
	switch s.Kind {
	case section.XDP:
		if s.Target != "" {
			return "interface " + s.Target
		}
		return "--dev IF"
	case section.TC:
		if s.Direction != "" {
			return "--dev IF, " + s.Direction
		}
		return "--dev IF, ingress unless --target says egress"
	case section.SocketFilter:
		return "--dev IF"
	case section.Cgroup, section.SockOps, section.LSMCgroup:
		return "root cgroup, or --cgroup DIR"
	case section.SkLookup, section.FlowDissector:
		return "this network namespace"
	case section.Netfilter:
		if s.Target == "" {
			return "ip/input"
		}
	case section.PerfEvent:
		if s.Target == "" {
			return "each CPU, 99 times a second"
		}
	case section.StructOps:
		return "where its struct_ops map says"
	case section.TCAction, section.Netkit, section.Syscall:
		return "nothing: --pin it and attach it yourself"
	}
	switch {
	case s.Target != "":
		return s.Target
	case needsTarget(s.Kind):
		return "--target " + p.Name + "=…"
	}
	return "nothing: --pin it and attach it yourself"
}

func needsTarget(kind section.Kind) bool {
	switch kind {
	case section.Tracepoint, section.RawTracepoint, section.RawTracepointWritable, section.TracingRawTracepoint, section.Kprobe, section.Kretprobe,
		section.Ksyscall, section.Kretsyscall, section.KprobeMulti, section.KretprobeMulti, section.Uprobe, section.Uretprobe, section.UprobeMulti,
		section.UretprobeMulti, section.USDT, section.Fentry, section.Fexit, section.FmodRet, section.LSM, section.Iter, section.Freplace:
		return true
	}
	return false
}

func (r *Report) addMaps(spec *ebpf.CollectionSpec, host *hostView) {
	for _, name := range sorted(spec.Maps) {
		m := spec.Maps[name].Copy() // mending changes it
		if _, isSection := m.Value.(*btf.Datasec); isSection || strings.HasPrefix(name, ".") {
			continue // its variables are listed
		}
		row := MapReport{
			Name: name, Type: m.Type.String(), Key: typeOrSize(m.Key, m.KeySize), Value: typeOrSize(m.Value, m.ValueSize),
			Pinned: m.Pinning == ebpf.PinByName, Lacks: host.lacksMap(m.Type),
		}
		mending := &Object{}
		if err := mending.mendSize(name, m); err != nil {
			row.Lacks = strings.TrimPrefix(err.Error(), "map "+name+": ")
		}
		for _, note := range mending.notes {
			row.Fixed = strings.TrimPrefix(note, "map "+name+": ")
		}
		if m.Type == ebpf.PerfEventArray && m.MaxEntries == 0 {
			row.Fixed = "it gets one entry for each CPU"
		}
		row.MaxEntries = m.MaxEntries
		r.Maps = append(r.Maps, row)
	}
}

func (r *Report) addGlobals(spec *ebpf.CollectionSpec) {
	all := map[string]GlobalReport{}
	add := func(name, from string, t btf.Type, data []byte) {
		// Formats of bpf_printk are variables too, and nobody's to set.
		if _, known := all[name]; known || strings.HasSuffix(name, "___fmt") {
			return
		}
		g := GlobalReport{Name: name, Section: from, Type: typeName(t)}
		if t != nil {
			g.Default = string(value.AppendText(nil, t, data))
		}
		if t != nil && (strings.HasPrefix(from, ".rodata") || strings.HasPrefix(from, ".data") || strings.HasPrefix(from, ".bss")) {
			g.Set = "--set " + name + "=VALUE"
		}
		all[name] = g
	}
	for name, v := range spec.Variables {
		var t btf.Type
		if v.Type != nil {
			t = v.Type.Type
		}
		add(name, v.SectionName, t, v.Value)
	}
	for _, m := range spec.Maps {
		from, ok := m.Value.(*btf.Datasec)
		if !ok || len(m.Contents) != 1 {
			continue
		}
		data, ok := m.Contents[0].Value.([]byte)
		for _, v := range from.Vars {
			variable, isVar := v.Type.(*btf.Var)
			if end := uint64(v.Offset) + uint64(v.Size); ok && isVar && end <= uint64(len(data)) {
				add(variable.Name, from.Name, variable.Type, data[v.Offset:end])
			}
		}
	}
	for _, name := range sorted(all) {
		r.Globals = append(r.Globals, all[name])
	}
}

func typeOrSize(t btf.Type, size uint32) string {
	switch {
	case t != nil:
		return typeName(t)
	case size > 0:
		return fmt.Sprintf("%d bytes", size)
	}
	return ""
}

// maxNesting bounds the arrays and pointers that a type's name unfolds.
const maxNesting = 8

// typeName names a type as C does; empty for none.
func typeName(t btf.Type) string { return nameOfType(t, "", maxNesting) }

func nameOfType(t btf.Type, behind string, depth int) string {
	if depth == 0 {
		return "…" + behind
	}
	named := func(keyword string) string {
		if t.TypeName() == "" {
			return keyword + "{…}" + behind
		}
		return keyword + t.TypeName() + behind
	}
	switch t := t.(type) {
	case nil:
		return ""
	case *btf.Struct:
		return named("struct ")
	case *btf.Union:
		return named("union ")
	case *btf.Enum:
		return named("enum ")
	case *btf.Array:
		return nameOfType(t.Type, fmt.Sprintf("%s[%d]", behind, t.Nelems), depth-1)
	case *btf.Pointer:
		return nameOfType(t.Target, " *"+behind, depth-1)
	case *btf.Const:
		return nameOfType(t.Type, behind, depth-1)
	case *btf.Volatile:
		return nameOfType(t.Type, behind, depth-1)
	case *btf.Restrict:
		return nameOfType(t.Type, behind, depth-1)
	case *btf.TypeTag:
		return nameOfType(t.Type, behind, depth-1)
	case *btf.Void:
		return "void" + behind
	}
	return t.TypeName() + behind
}
