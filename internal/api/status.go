package api

import (
	"context"
	"time"

	"github.com/netfate/netfate/internal/history"
)

// Status is how a daemon fares.
type Status struct {
	Host    string    `json:"host"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Time    time.Time `json:"time" doc:"When this was written."`
	// Recording is absent where a host is watched.
	Recording *Recording `json:"recording,omitempty" doc:"The file that is told of; absent where a host is watched."`
	Store     Store      `json:"store"`
	Costs
	// Confined is absent where nothing is watched.
	Confined *Confined `json:"confined,omitempty" doc:"What confines the daemon; absent until it watches."`
	Lost     []Loss    `json:"lost" nullable:"false" doc:"What was lost since the start, by place and reason."`
	Exports  []Export  `json:"exports" nullable:"false"`
	Kernel   Kernel    `json:"kernel"`
}

// Confined is by what the daemon's processes are confined: seccomp filters system calls,
// landlock files and the network.
type Confined struct {
	Daemon  []string `json:"daemon" nullable:"false" doc:"The daemon itself: seccomp, or nothing on a kernel that has none."`
	History []string `json:"history" nullable:"false" doc:"The process that has the history's file, if there is one: seccomp, landlock."`
}

// Store is what the history holds.
type Store struct {
	Engine   string            `json:"engine"`
	Path     string            `json:"path" doc:"Empty if it is in memory only."`
	Bytes    int64             `json:"bytes"`
	Oldest   *time.Time        `json:"oldest" doc:"The oldest row; null if there is none."`
	Degraded string            `json:"degraded" doc:"Why nothing is durable at the moment; empty if all is well."`
	Kinds    []StoreKind       `json:"kinds" nullable:"false"`
	Dropped  map[string]uint64 `json:"dropped" doc:"Rows that were given up, by reason."`
}

// StoreKind is what the history holds of one kind, at one resolution.
type StoreKind struct {
	Kind       string     `json:"kind"`
	Resolution float64    `json:"resolution_s" doc:"Seconds that a row is of; 0 is as recorded."`
	Rows       int64      `json:"rows"`
	Oldest     *time.Time `json:"oldest" doc:"Null without rows, as newest."`
	Newest     *time.Time `json:"newest"`
}

// Export is how one exporter fares. Rows that it got are sent, lost, or wait.
type Export struct {
	Name    string `json:"name" doc:"As in the configuration."`
	Target  string `json:"target" doc:"Where to."`
	Waiting uint64 `json:"waiting" doc:"Rows that wait."`
	Sent    uint64 `json:"sent" doc:"Rows that were sent since the start."`
	Lost    []Loss `json:"lost" nullable:"false" doc:"Rows that were not sent, or not in full, since the start, by reason."`
	Fault   string `json:"fault" doc:"Why nothing can be sent at the moment; empty if all is well."`
}

// Costs are what watching costs.
type Costs struct {
	Sensors []Sensor `json:"sensors" nullable:"false"`
	Process Process  `json:"process"`
}

// Sensor is one sensor, and its cost.
type Sensor struct {
	Name     string   `json:"name"`
	Programs int      `json:"programs" doc:"BPF programs that are loaded."`
	Events   *uint64  `json:"events" doc:"Times that they ran since the start; null unless sensors.measure is on."`
	NS       *float64 `json:"ns_per_event" doc:"Nanoseconds that one run took, on the average since the start; null likewise."`
	CPU      *float64 `json:"cpu_percent" doc:"Share of one CPU that they took of late; null likewise."`
	Memory   uint64   `json:"memory_bytes" doc:"What their maps and programs occupy in the kernel."`
	Lacks    []string `json:"lacks" nullable:"false" doc:"What this kernel cannot tell, each with what it costs."`
}

// Process is the daemon itself.
type Process struct {
	CPU        float64 `json:"cpu_percent" doc:"Share of one CPU of late."`
	RSS        uint64  `json:"rss_bytes" doc:"Resident memory."`
	Goroutines int     `json:"goroutines"`
}

// Kernel is what the kernel offers.
type Kernel struct {
	Release  string    `json:"release"`
	Features []Feature `json:"features" nullable:"false"`
}

// Feature is one thing that a kernel may offer.
type Feature struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Costs string `json:"costs" doc:"What is lost without it."`
}

type statusAnswer struct{ Body Status }

func (s *Server) status(ctx context.Context, _ *struct{}) (*statusAnswer, error) {
	return ask(ctx, s, func(ctx context.Context) (*statusAnswer, error) {
		st, err := s.cfg.Store.Status(ctx)
		if err != nil {
			return nil, err
		}
		about := &s.cfg.About
		out := Status{
			Host: about.Host, Version: about.Version, Started: about.Started, Time: time.Now().UTC(), Kernel: about.Kernel,
			Recording: s.cfg.Recording, Store: storeStatus(st), Lost: s.lost.list(), Costs: Costs{Sensors: []Sensor{}},
			Exports: s.exports(), Confined: s.holds.Load(),
		}
		if s.cfg.Costs != nil {
			out.Costs = s.cfg.Costs()
		}
		return &statusAnswer{out}, nil
	})
}

func (s *Server) exports() []Export {
	all := []Export{}
	if s.cfg.Exports == nil {
		return all
	}
	for _, e := range s.cfg.Exports() {
		one := Export{Name: e.Name, Target: e.Target, Waiting: e.Waiting, Sent: e.Sent, Fault: e.Fault, Lost: []Loss{}}
		for _, l := range e.Lost {
			one.Lost = append(one.Lost, Loss{Place: l.Place, Reason: l.Reason, Count: l.Count, Effect: l.Effect})
		}
		all = append(all, one)
	}
	return all
}

func storeStatus(st history.Status) Store {
	out := Store{Engine: st.Engine, Path: st.Path, Bytes: st.Bytes, Degraded: st.Degraded, Dropped: st.Dropped, Kinds: []StoreKind{}}
	out.Oldest = known(st.Oldest)
	for _, k := range st.Kinds {
		out.Kinds = append(out.Kinds, StoreKind{k.Kind, seconds(k.Resolution), k.Rows, known(k.Oldest), known(k.Newest)})
	}
	return out
}

// Schema is the kinds of records.
type Schema struct {
	Kinds []SchemaKind `json:"kinds" nullable:"false"`
}

// SchemaKind is one kind.
type SchemaKind struct {
	Kind   string        `json:"kind"`
	Fields []SchemaField `json:"fields" nullable:"false"`
}

// SchemaField is one field.
type SchemaField struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Unit string `json:"unit"`
	Role string `json:"role" doc:"time, dimension or measure."`
	Doc  string `json:"doc"`
}

type schemaAnswer struct{ Body Schema }

func (s *Server) schema(context.Context, *struct{}) (*schemaAnswer, error) {
	var out schemaAnswer
	for _, kind := range history.Kinds() {
		k := SchemaKind{Kind: kind}
		for _, f := range history.Fields(kind) {
			k.Fields = append(k.Fields, SchemaField{f.Name, f.Type, f.Unit, string(f.Role), f.Doc})
		}
		out.Body.Kinds = append(out.Body.Kinds, k)
	}
	return &out, nil
}

// known is null for a time that is not.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
