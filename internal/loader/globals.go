package loader

import (
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/netfate/netfate/internal/value"
)

// setGlobals gives values to the object's global variables, encoded as their
// types say.
func setGlobals(spec *ebpf.CollectionSpec, assignments []string) error {
	for _, a := range assignments {
		name, text, ok := strings.Cut(a, "=")
		if !ok || name == "" {
			return usagef("--set %s: give it as name=value", a)
		}
		if err := setGlobal(spec, name, text); err != nil {
			return err
		}
	}
	return nil
}

func setGlobal(spec *ebpf.CollectionSpec, name, text string) error {
	if v := spec.Variables[name]; v != nil {
		if v.Type == nil {
			return usagef("--set %s: the object has no type for it; compile with -g", name)
		}
		encoded, err := value.ParseNamed(name, v.Type.Type, text, os.Getpid())
		if err != nil {
			return usagef("--set %s: %w", name, err)
		}
		if err := v.Set(encoded); err != nil {
			return usagef("--set %s: %w", name, err)
		}
		return nil
	}
	static, err := findStatic(spec, name)
	if err != nil {
		return usagef("--set %s: %w", name, err)
	}
	encoded, err := value.ParseNamed(name, static.typ, text, os.Getpid())
	if err != nil {
		return usagef("--set %s: %w", name, err)
	}
	if len(encoded) != len(static.data) {
		return usagef("--set %s: the value has %d bytes, the variable %d", name, len(encoded), len(static.data))
	}
	copy(static.data, encoded)
	return nil
}

// static is a static variable: the library does not list those, but the types
// of its section do.
type static struct {
	typ  btf.Type
	data []byte // of the section, to be changed in place
}

func findStatic(spec *ebpf.CollectionSpec, name string) (static, error) {
	valid := map[string]struct{}{}
	for known := range spec.Variables {
		valid[known] = struct{}{}
	}
	for _, m := range spec.Maps {
		section, ok := m.Value.(*btf.Datasec)
		if !ok || len(m.Contents) != 1 {
			continue
		}
		data, ok := m.Contents[0].Value.([]byte)
		if !ok {
			continue
		}
		for _, v := range section.Vars {
			variable, ok := v.Type.(*btf.Var)
			if !ok {
				continue
			}
			valid[variable.Name] = struct{}{}
			end := uint64(v.Offset) + uint64(v.Size)
			if variable.Name == name && end <= uint64(len(data)) {
				return static{variable.Type, data[v.Offset:end]}, nil
			}
		}
	}
	return static{}, fmt.Errorf("the object has no such global; it has %s", names(valid))
}
