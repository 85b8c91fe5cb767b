// Package eventtype finds out which struct each ring buffer and perf event array
// of an object carries, so that events can be shown without a word from the user.
//
// In this order: what the user says; the value type that the map was declared
// with; the size at the places where the programs submit, if exactly one struct of
// that size is declared by the object's own sources, as DWARF tells. Never by BTF
// size alone: the kernel's types are in an object's BTF too, and one of them has any
// size (a 168-byte event is as large as pt_regs).
//
// It reads the object and asks no kernel. The loader and the commands import it.
package eventtype

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Event is what is known of the events of one map.
type Event struct {
	Map        string   // or the iterator's program
	Type       btf.Type // nil if it is not known
	Size       int      // bytes of an event, 0 if it is not known or varies
	Source     string   // how Type is known: --event, __type(value) or DWARF
	Candidates []string // structs that fit, if it is more than one
	Note       string   // what the user should know
}

// How a type came to be known.
const (
	Said     = "--event"
	Declared = "__type(value)"
	Inferred = "DWARF"
)

// Find tells what each map that carries events holds, and each iterator that does
// not write text. said has the structs that the user names, by map or program. The error is about those only: what cannot be found out
// is no error, and has a note.
func Find(object io.ReaderAt, spec *ebpf.CollectionSpec, said map[string]string) (map[string]Event, error) {
	found := map[string]Event{}
	for name, m := range spec.Maps {
		if carriesEvents(m.Type) {
			found[name] = Event{Map: name}
		}
	}
	sizes := submitted(spec)
	for name := range spec.Programs {
		if sizes[name].sites > 0 && spec.Maps[name] == nil {
			found[name] = Event{Map: name}
		}
	}
	for name := range said {
		if _, ok := found[name]; !ok {
			return nil, fmt.Errorf("--event %s: there is no ring buffer, perf event array or iterator of that name; the object has %s", name, list(found))
		}
	}
	var own structs // read when it is first needed
	for name, e := range found {
		if err := e.find(spec, said[name], sizes[name], func() structs {
			if own == nil {
				own = readStructs(object)
			}
			return own
		}); err != nil {
			return nil, err
		}
		if spec.Programs[name] != nil && e.Type != nil { // a row ends where the next begins
			if size, err := btf.Sizeof(e.Type); err == nil {
				e.Size = size
			}
		}
		found[name] = e
	}
	return found, nil
}

func carriesEvents(t ebpf.MapType) bool { return t == ebpf.RingBuf || t == ebpf.PerfEventArray }

// find fills in what is known; sizes are those that the programs submit.
func (e *Event) find(spec *ebpf.CollectionSpec, said string, sizes sizes, own func() structs) error {
	if len(sizes.constant) == 1 && !sizes.varies {
		e.Size = sizes.constant[0]
	}
	if said != "" {
		t, err := structNamed(spec.Types, said, own)
		if err != nil {
			return fmt.Errorf("--event %s=%s: %w", e.Map, said, err)
		}
		e.Type, e.Source = t, Said
		return nil
	}
	if m := spec.Maps[e.Map]; m != nil && isStruct(m.Value) {
		e.Type, e.Source = m.Value, Declared
		return nil
	}
	e.infer(spec.Types, sizes, own)
	return nil
}

// infer looks for the one struct of the object's own that has the size of what
// is submitted.
func (e *Event) infer(types *btf.Spec, sizes sizes, own func() structs) {
	const hint = "; name it with --event " // the map follows
	switch {
	case sizes.sites == 0:
		e.Note = "no program submits to it where that can be seen, so its events are shown as hex" + hint + e.Map + "=STRUCT"
	case e.Size == 0:
		e.Note = "its events have different sizes, so they are shown as hex" + hint + e.Map + "=STRUCT for those that begin alike"
	case own().missing:
		e.Note = fmt.Sprintf("its events of %d bytes are shown as hex, as the object has no debug information; compile with -g, or name the struct with --event %s=STRUCT",
			e.Size, e.Map)
	default:
		e.choose(types, own)
	}
}

func (e *Event) choose(types *btf.Spec, own func() structs) {
	names := own().ofSize(e.Size)
	if len(names) != 1 {
		e.Candidates = names
		e.Note = fmt.Sprintf("its events of %d bytes could be %s, so they are shown as hex; name the struct with --event %s=STRUCT",
			e.Size, oneOf(names), e.Map)
		return
	}
	t, err := structNamed(types, names[0], own)
	if err != nil {
		e.Note = fmt.Sprintf("its events are struct %s, by their size, but: %v; they are shown as hex", names[0], err)
		return
	}
	if size, err := btf.Sizeof(t); err != nil || size != e.Size {
		e.Note = fmt.Sprintf("its events of %d bytes are shown as hex: struct %s has another size in its types", e.Size, names[0])
		return
	}
	e.Type, e.Source = t, Inferred
	e.Note = fmt.Sprintf("taken for struct %s, the only one of %d bytes that the object declares; --event %s=STRUCT says otherwise",
		names[0], e.Size, e.Map)
}

func oneOf(names []string) string {
	const most = 5
	switch {
	case len(names) == 0:
		return "no struct that the object declares"
	case len(names) > most:
		return fmt.Sprintf("%s or %d others", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, " or ")
}

// structNamed finds a struct, union or typedef of one in the object's BTF, or in
// its DWARF: clang leaves out of BTF what no map, global or function uses.
func structNamed(types *btf.Spec, name string, own func() structs) (btf.Type, error) {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "struct "), "union ")
	if types != nil {
		all, err := types.AnyTypesByName(name)
		for _, t := range all {
			if err == nil && isStruct(t) {
				return t, nil
			}
		}
	}
	t, err := own().named(name)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, errors.New("the object has no struct of that name in its types and debug information; compile with -g")
	}
	return t, nil
}

func isStruct(t btf.Type) bool {
	if t == nil {
		return false
	}
	switch btf.UnderlyingType(t).(type) {
	case *btf.Struct, *btf.Union:
		return true
	}
	return false
}

func list(m map[string]Event) string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	if slices.Sort(names); len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
