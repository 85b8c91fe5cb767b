package bpfmap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/cilium/ebpf"

	"github.com/netfate/netfate/internal/kernel"
)

// objectValue makes the value of a program or map, whose id the kernel gives,
// into one of objectType. One that is gone, or may not be opened, has no name.
func (m *Map) objectValue(id []byte) []byte {
	name := ""
	n := binary.NativeEndian.Uint32(id)
	if m.m.Type() == ebpf.ProgramArray {
		if p, err := ebpf.NewProgramFromID(ebpf.ProgramID(n)); err == nil {
			if info, err := p.Info(); err == nil {
				name = info.Name
			}
			_ = p.Close()
		}
	} else if inner, err := ebpf.NewMapFromID(ebpf.MapID(n)); err == nil {
		if info, err := inner.Info(); err == nil {
			name = info.Name
		}
		_ = inner.Close()
	}
	out := make([]byte, 4+maxName+1)
	copy(out, id[:4])
	copy(out[4:len(out)-1], name)
	return out
}

// setObject puts a program or map, named by text, under a key.
func (m *Map) setObject(keyText string, key any, text string) (err error) {
	if m.m.Type() == ebpf.ProgramArray {
		p, err := openProgram(text)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.Close()) }()
		return m.explain("set", keyText, m.m.Put(key, p))
	}
	inner, _, err := find(text)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, inner.Close()) }()
	return m.explain("set", keyText, m.m.Put(key, inner))
}

func openProgram(text string) (*ebpf.Program, error) {
	if id, err := strconv.ParseUint(text, 10, 32); err == nil {
		p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		return p, kernel.Diagnose(err, fmt.Sprintf("open program %d", id))
	}
	p, err := ebpf.LoadPinnedProgram(text, nil)
	if err != nil {
		return nil, usagef("value %q: want the id of a program or the path of its pin: %v", text, err)
	}
	return p, nil
}
