package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/runstate"
	"github.com/netfate/netfate/internal/section"
)

// Program is one program in the kernel.
type Program struct {
	ID uint32 `json:"id"`
	// Kind is that of internal/section where type and attachments tell it, else
	// the kernel's name of the type.
	Kind   string    `json:"kind"`
	Name   string    `json:"name"` // the whole one where there is BTF, else the first 15 bytes
	Tag    string    `json:"tag"`  // a hash of its instructions
	Loaded time.Time `json:"loaded"`
	UID    uint32    `json:"uid"` // who loaded it
	// Runs and RunTime are counted only while statistics are on, see EnableStats.
	Runs    uint64        `json:"runs"`
	RunTime time.Duration `json:"run_ns"`
	// Memory is what is charged for it, in bytes, without its maps.
	Memory uint64 `json:"memory"`
	// Instructions are those that the verifier walked through; 0 before 5.16.
	Instructions uint32       `json:"verified_instructions"`
	Maps         []uint32     `json:"maps"`
	Attached     []Attachment `json:"attached"`
	// Owners hold it, or one of its links, by an open file.
	Owners []Owner  `json:"owners"`
	Pins   []string `json:"pins"` // of it and of its links
	// Netfate is set if netfate loaded it; Object is then what netfate run calls
	// the object that it is from, empty if it is one of netfate's own sensors.
	Netfate bool   `json:"netfate"`
	Object  string `json:"object,omitempty"`

	typ ebpf.ProgramType
}

// Programs lists all programs of the host by id. What of one cannot be read is
// left empty and told to cfg.Note; the error is that of asking for ids at all:
// without privileges a *kernel.Refusal.
func Programs(ctx context.Context, cfg Config) ([]Program, error) {
	s := newScan(cfg)
	programs, err := s.programs(ctx)
	if err != nil {
		return nil, err
	}
	s.look(ctx)
	s.place(ctx, programs)
	s.tell()
	return programs, ctx.Err()
}

// Objects lists all programs and maps of the host by id, of one look at who holds
// what. What it cannot read it reports as Programs does.
func Objects(ctx context.Context, cfg Config) ([]Program, []Map, error) {
	s := newScan(cfg)
	programs, err := s.programs(ctx)
	if err != nil {
		return nil, nil, err
	}
	maps, err := s.maps(ctx)
	if err != nil {
		return nil, nil, err
	}
	s.look(ctx)
	s.place(ctx, programs)
	s.hold(maps, programs)
	s.tell()
	return programs, maps, ctx.Err()
}

// look finds out who holds what, and what is pinned.
func (s *scan) look(ctx context.Context) { s.owned, s.pinned = s.owners(ctx), s.pins(ctx) }

// place adds to programs where they are attached and whose they are.
func (s *scan) place(ctx context.Context, programs []Program) {
	byID := make(map[uint32]*Program, len(programs))
	for i := range programs {
		byID[programs[i].ID] = &programs[i]
	}
	s.attachments(ctx, programs, byID)
	s.states(byID)
	for i := range programs {
		s.finish(&programs[i])
	}
}

// programs reads what the kernel says of each program.
func (s *scan) programs(ctx context.Context) ([]Program, error) {
	clock := kernel.ReadClock()
	programs := []Program{}
	for id := ebpf.ProgramID(0); ctx.Err() == nil; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return programs, nil
		}
		if err != nil {
			return nil, kernel.Diagnose(err, "list the BPF programs")
		}
		id = next
		p, err := readProgram(id, clock)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case errors.Is(err, os.ErrPermission) && len(programs) == 0:
			return nil, kernel.Diagnose(err, "open a BPF program")
		case err != nil:
			s.miss("programs", err)
		default:
			programs = append(programs, p)
		}
	}
	return nil, ctx.Err()
}

func readProgram(id ebpf.ProgramID, clock kernel.Clock) (Program, error) {
	prog, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return Program{}, err
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		return Program{}, fmt.Errorf("read program %d: %w", id, err)
	}
	p := Program{ID: uint32(id), Kind: kindOfType(info.Type), Name: info.Name, Tag: info.Tag, typ: info.Type, Maps: []uint32{}}
	p.UID, _ = info.CreatedByUID()
	p.Memory, _ = info.Memlock()
	p.Instructions, _ = info.VerifiedInstructions()
	if since, ok := info.LoadTime(); ok {
		p.Loaded = clock.WallBoot(uint64(since))
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		p.Maps = append(p.Maps, uint32(id))
	}
	if stats, err := prog.Stats(); err == nil { // before 5.8 there are none
		p.Runs, p.RunTime = stats.RunCount, stats.Runtime
	}
	return p, nil
}

// kindOfType names a program's kind by its type alone, where that is enough.
func kindOfType(t ebpf.ProgramType) string {
	kinds := map[ebpf.ProgramType]section.Kind{
		ebpf.SocketFilter: section.SocketFilter, ebpf.Kprobe: section.Kprobe, ebpf.SchedCLS: section.TC, ebpf.SchedACT: section.TCAction,
		ebpf.TracePoint: section.Tracepoint, ebpf.XDP: section.XDP, ebpf.PerfEvent: section.PerfEvent, ebpf.CGroupSKB: section.Cgroup,
		ebpf.CGroupSock: section.Cgroup, ebpf.CGroupDevice: section.Cgroup, ebpf.CGroupSockAddr: section.Cgroup,
		ebpf.CGroupSysctl: section.Cgroup, ebpf.CGroupSockopt: section.Cgroup, ebpf.LWTIn: section.LWT, ebpf.LWTOut: section.LWT,
		ebpf.LWTXmit: section.LWT, ebpf.LWTSeg6Local: section.LWT, ebpf.SockOps: section.SockOps, ebpf.SkSKB: section.SkSKB,
		ebpf.SkMsg: section.SkMsg, ebpf.RawTracepoint: section.RawTracepoint, ebpf.RawTracepointWritable: section.RawTracepointWritable,
		ebpf.LircMode2: section.LircMode2, ebpf.SkReuseport: section.SkReuseport, ebpf.FlowDissector: section.FlowDissector,
		ebpf.StructOps: section.StructOps, ebpf.Extension: section.Freplace, ebpf.LSM: section.LSM, ebpf.SkLookup: section.SkLookup,
		ebpf.Syscall: section.Syscall, ebpf.Netfilter: section.Netfilter,
	}
	if k, ok := kinds[t]; ok {
		return string(k)
	}
	return strings.ToLower(t.String()) // tracing, while it has no link that says more
}

// states marks what netfate run has loaded.
func (s *scan) states(byID map[uint32]*Program) {
	states, err := runstate.List(s.cfg.States)
	s.miss("states of netfate run", err)
	for _, state := range states {
		for _, loaded := range state.Programs {
			if p := byID[loaded.ID]; p != nil && loaded.ID != 0 {
				p.Netfate, p.Object = true, state.Name
			}
		}
	}
}

// finish adds who holds a program, once its links are known.
func (s *scan) finish(p *Program) {
	owners := slices.Clone(s.owned[object{programKind, p.ID}])
	pins := slices.Clone(s.pinned[object{programKind, p.ID}])
	for i := range p.Attached {
		if link := p.Attached[i].Link; link != 0 {
			owners = append(owners, s.owned[object{linkKind, link}]...)
			pins = append(pins, s.pinned[object{linkKind, link}]...)
		}
	}
	p.Owners, p.Pins = uniqueOwners(owners), sorted(pins)
	p.Netfate = p.Netfate || slices.ContainsFunc(p.Owners, func(o Owner) bool { return o.Netfate })
	if p.Attached == nil {
		p.Attached = []Attachment{}
	}
	slices.SortFunc(p.Attached, func(a, b Attachment) int {
		return cmp.Or(cmp.Compare(a.Where, b.Where), cmp.Compare(a.Link, b.Link))
	})
}
