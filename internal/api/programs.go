package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/netfate/netfate/internal/inventory"
)

// Programs are the BPF programs and maps of the host, whoever loaded them.
type Programs struct {
	Time     time.Time `json:"time" doc:"When the host was looked at."`
	Programs []Program `json:"programs" nullable:"false" doc:"By id."`
	Maps     []BPFMap  `json:"maps" nullable:"false" doc:"By id."`
	Counted  bool      `json:"counted" doc:"True while the kernel counts runs of programs for netfate or for everybody; else those are of when it last did."`
	Seconds  float64   `json:"rates_s" doc:"Seconds that rates are of: since the look before; 0 if there are none."`
	Cut      bool      `json:"cut" doc:"True if there are more programs or maps than are told."`
	Missed   []string  `json:"missed" nullable:"false" doc:"What could not be read, and why: of that, places and owners may be missing."`
}

// Program is one program in the kernel.
type Program struct {
	ID       uint32       `json:"id"`
	Kind     string       `json:"kind" doc:"Of its section, as kprobe or xdp, where type and attachments tell it; else the kernel's name of its type."`
	Name     string       `json:"name"`
	Tag      string       `json:"tag" doc:"A hash of its instructions."`
	Loaded   time.Time    `json:"loaded"`
	UID      uint32       `json:"uid" doc:"User that loaded it."`
	Runs     uint64       `json:"runs" doc:"Times that it ran, as far as that was counted."`
	NS       *float64     `json:"ns_per_run" doc:"Nanoseconds that one of these took, on the average; null without runs."`
	Rate     *float64     `json:"runs_per_second" doc:"Of the time since the look before; null if that is not known."`
	CPU      *float64     `json:"cpu_percent" doc:"Share of one CPU, likewise."`
	Memory   uint64       `json:"memory_bytes" doc:"What is charged for it, without its maps."`
	Maps     []uint32     `json:"map_ids" nullable:"false"`
	Attached []Attachment `json:"attached" nullable:"false"`
	Held
}

// Attachment is a place at which a program is attached.
type Attachment struct {
	How   string `json:"how" doc:"link, where the kernel has one for it; else tc, xdp, cgroup or perf event, the ways of old."`
	Where string `json:"where"`
	Link  uint32 `json:"link_id,omitempty"`
}

// Held is what keeps an object, and whose it is.
type Held struct {
	Owners  []Holder `json:"owners" nullable:"false" doc:"Processes that hold it, or a link of it, by an open file."`
	Pins    []string `json:"pins" nullable:"false" doc:"Where it, or a link of it, is pinned."`
	Netfate bool     `json:"netfate" doc:"True if netfate loaded it."`
	Object  string   `json:"object" doc:"What netfate run calls the object that it is from; empty if it is from none."`
}

// Holder is a process that holds an object.
type Holder struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"`
}

// BPFMap is one map in the kernel.
type BPFMap struct {
	ID         uint32   `json:"id"`
	Name       string   `json:"name"`
	Type       string   `json:"type"`
	KeySize    uint32   `json:"key_bytes"`
	ValueSize  uint32   `json:"value_bytes"`
	MaxEntries uint32   `json:"max_entries"`
	Memory     uint64   `json:"memory_bytes"`
	Programs   []uint32 `json:"program_ids" nullable:"false" doc:"Programs that use it."`
	Held
}

// Objects are what a look at the host finds.
type Objects struct {
	Programs []inventory.Program
	Maps     []inventory.Map
	Counted  bool     // the kernel counts runs
	Missed   []string // what could not be read
}

const (
	// maxObjects bounds the programs, and the maps, of an answer. A host of
	// containers has some hundreds.
	maxObjects = 5000
	// lookEvery is the time between two looks at the least: each reads the open
	// files of all processes, so those who ask in between share one.
	lookEvery = 2 * time.Second
)

// looker keeps the last look. Whoever holds its one token may read and change it.
type looker struct {
	token  chan struct{}
	last   Programs
	before map[uint32]spent
}

// spent is what a program had run at the last look.
type spent struct {
	loaded time.Time
	runs   uint64
	took   time.Duration
}

func newLooker() *looker { return &looker{token: make(chan struct{}, 1)} }

type programsAnswer struct{ Body Programs }

func (s *Server) programs(ctx context.Context, _ *struct{}) (*programsAnswer, error) {
	if s.cfg.Objects == nil {
		return nil, huma.Error404NotFound("this netfate watches no kernel: it cannot tell what BPF programs there are")
	}
	return ask(ctx, s, func(ctx context.Context) (*programsAnswer, error) {
		l := s.looker
		select {
		case l.token <- struct{}{}:
			defer func() { <-l.token }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if now := time.Now(); now.Sub(l.last.Time) >= lookEvery {
			found, err := s.cfg.Objects(ctx)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				return nil, huma.Error503ServiceUnavailable(err.Error())
			}
			l.take(found, now)
		}
		return &programsAnswer{l.last}, nil
	})
}

// take makes an answer of what was found.
func (l *looker) take(found Objects, now time.Time) {
	out := Programs{Time: now.UTC(), Programs: []Program{}, Maps: []BPFMap{}, Counted: found.Counted, Missed: append([]string{}, found.Missed...)}
	if found.Counted && !l.last.Time.IsZero() {
		out.Seconds = now.Sub(l.last.Time).Seconds()
	}
	out.Cut = len(found.Programs) > maxObjects || len(found.Maps) > maxObjects
	runs := map[uint32]spent{}
	for i := range found.Programs[:min(len(found.Programs), maxObjects)] {
		p := &found.Programs[i]
		one := programOf(p)
		if out.Seconds > 0 {
			one.Rate, one.CPU = rates(l.before[p.ID], p, out.Seconds)
		}
		out.Programs = append(out.Programs, one)
		runs[p.ID] = spent{p.Loaded, p.Runs, p.RunTime}
	}
	for i := range found.Maps[:min(len(found.Maps), maxObjects)] {
		m := &found.Maps[i]
		out.Maps = append(out.Maps, BPFMap{
			ID: m.ID, Name: m.Name, Type: m.Type, KeySize: m.KeySize, ValueSize: m.ValueSize, MaxEntries: m.MaxEntries, Memory: m.Memory,
			Programs: append([]uint32{}, m.Programs...), Held: held(m.Owners, m.Pins, m.Netfate, m.Object),
		})
	}
	l.last, l.before = out, runs
}

func programOf(p *inventory.Program) Program {
	one := Program{
		ID: p.ID, Kind: p.Kind, Name: p.Name, Tag: p.Tag, Loaded: p.Loaded.UTC(), UID: p.UID, Runs: p.Runs, Memory: p.Memory,
		Maps: append([]uint32{}, p.Maps...), Attached: []Attachment{}, Held: held(p.Owners, p.Pins, p.Netfate, p.Object),
	}
	if p.Runs > 0 {
		ns := float64(p.RunTime.Nanoseconds()) / float64(p.Runs)
		one.NS = &ns
	}
	for _, a := range p.Attached {
		one.Attached = append(one.Attached, Attachment(a))
	}
	return one
}

func held(owners []inventory.Owner, pins []string, netfate bool, object string) Held {
	h := Held{Owners: []Holder{}, Pins: append([]string{}, pins...), Netfate: netfate, Object: object}
	for _, o := range owners {
		h.Owners = append(h.Owners, Holder{o.PID, o.Comm})
	}
	return h
}

// rates returns what a program did since the look before. Ids are given anew only
// after all others, but a program that ran less than it had is another one.
func rates(b spent, p *inventory.Program, seconds float64) (runs, cpu *float64) {
	if b.loaded.Sub(p.Loaded).Abs() > time.Second || b.runs > p.Runs || b.took > p.RunTime {
		b = spent{} // loaded meanwhile
	}
	rate, share := float64(p.Runs-b.runs)/seconds, 100*(p.RunTime-b.took).Seconds()/seconds
	return &rate, &share
}
