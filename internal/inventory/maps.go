package inventory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/runstate"
)

// Map is one map in the kernel.
type Map struct {
	ID         uint32   `json:"id"`
	Name       string   `json:"name"` // its first 15 bytes
	Type       string   `json:"type"` // as cilium/ebpf names it: Hash, RingBuf
	KeySize    uint32   `json:"key_size"`
	ValueSize  uint32   `json:"value_size"`
	MaxEntries uint32   `json:"max_entries"`
	Memory     uint64   `json:"memory"` // bytes
	Frozen     bool     `json:"frozen"` // user space can no longer write it
	Programs   []uint32 `json:"programs"`
	Owners     []Owner  `json:"owners"` // have it open; programs that use it keep it too
	Pins       []string `json:"pins"`
	// Netfate is set if netfate made it; Object is what netfate run calls the
	// object that it is from.
	Netfate bool   `json:"netfate"`
	Object  string `json:"object,omitempty"`
}

// Maps lists all maps of the host by id; it reports what it cannot read as
// Programs does.
func Maps(ctx context.Context, cfg Config) ([]Map, error) {
	s := newScan(cfg)
	maps, err := s.maps(ctx)
	if err != nil {
		return nil, err
	}
	programs, err := s.programs(ctx)
	s.miss("programs that use maps", err)
	s.look(ctx)
	s.hold(maps, programs)
	s.tell()
	return maps, ctx.Err()
}

// hold adds to maps which programs use them and whose they are.
func (s *scan) hold(maps []Map, programs []Program) {
	users := map[uint32][]uint32{}
	for i := range programs {
		for _, id := range programs[i].Maps {
			users[id] = append(users[id], programs[i].ID)
		}
	}
	objects := s.objectsOfMaps()
	for i := range maps {
		m := &maps[i]
		m.Programs = append(m.Programs, users[m.ID]...)
		m.Owners = uniqueOwners(s.owned[object{mapKind, m.ID}])
		m.Pins = sorted(s.pinned[object{mapKind, m.ID}])
		m.Object, m.Netfate = objects[m.ID], objects[m.ID] != ""
		m.Netfate = m.Netfate || slices.ContainsFunc(m.Owners, func(o Owner) bool { return o.Netfate })
	}
}

func (s *scan) maps(ctx context.Context) ([]Map, error) {
	maps := []Map{}
	for id := ebpf.MapID(0); ctx.Err() == nil; {
		next, err := ebpf.MapGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return maps, nil
		}
		if err != nil {
			return nil, kernel.Diagnose(err, "list the BPF maps")
		}
		id = next
		m, err := readMap(id)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case errors.Is(err, os.ErrPermission) && len(maps) == 0:
			return nil, kernel.Diagnose(err, "open a BPF map")
		case err != nil:
			s.miss("maps", err)
		default:
			maps = append(maps, m)
		}
	}
	return nil, ctx.Err()
}

func readMap(id ebpf.MapID) (Map, error) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return Map{}, err
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return Map{}, fmt.Errorf("read map %d: %w", id, err)
	}
	memory, _ := info.Memlock()
	return Map{
		ID: uint32(id), Name: info.Name, Type: info.Type.String(), KeySize: info.KeySize, ValueSize: info.ValueSize,
		MaxEntries: info.MaxEntries, Memory: memory, Frozen: info.Frozen(), Programs: []uint32{},
	}, nil
}

// objectsOfMaps returns by map id what netfate run calls the object it is from.
func (s *scan) objectsOfMaps() map[uint32]string {
	states, err := runstate.List(s.cfg.States)
	s.miss("states of netfate run", err)
	objects := map[uint32]string{}
	for _, state := range states {
		for _, m := range state.Maps {
			objects[m.ID] = state.Name
		}
	}
	return objects
}

// ReadOnlyData returns the contents of the maps of program id that hold its
// constants, format strings among them: arrays of one value that programs cannot
// write. Those that cannot be read are left out.
func ReadOnlyData(id uint32) ([][]byte, error) {
	prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return nil, fmt.Errorf("open program %d: %w", id, err)
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		return nil, fmt.Errorf("read program %d: %w", id, err)
	}
	ids, _ := info.MapIDs()
	var data [][]byte
	for _, id := range ids {
		if b, ok := constants(id); ok {
			data = append(data, b)
		}
	}
	return data, nil
}

func constants(id ebpf.MapID) ([]byte, bool) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return nil, false
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil || info.Flags&unix.BPF_F_RDONLY_PROG == 0 || info.Type != ebpf.Array || info.MaxEntries != 1 {
		return nil, false
	}
	b, err := m.LookupBytes(uint32(0))
	return b, err == nil && b != nil
}
