package agent

import (
	"io"
	"time"

	"github.com/netfate/netfate/internal/hook"
	"github.com/netfate/netfate/internal/inventory"
)

// SensorCost is what one sensor takes in the kernel.
type SensorCost struct {
	Name     string
	Programs int
	// Runs and Time of its programs since they were loaded; only while the kernel
	// counts them, see Config.Measure.
	Runs uint64
	Time time.Duration
	// Memory is bytes of its maps and programs. What sensors share is the first one's.
	Memory uint64
	// Lacks are what this kernel cannot tell, each with what it costs.
	Lacks []string
}

// costEvery is the time between two measurements: each is some hundred system calls.
const costEvery = 5 * time.Second

// meter measures what the sensors cost. The zero value measures nothing.
type meter struct {
	tell  func([]SensorCost)
	stats io.Closer // nil if the kernel does not count for us
	last  time.Time
}

func (m *meter) start(l *live) (err error) {
	m.tell = l.cfg.Costs
	if l.cfg.Measure {
		if m.stats, err = inventory.EnableStats(); err != nil {
			l.missing = append(l.missing, "what a run of a program takes is not known: "+err.Error())
		}
	}
	return m.tick(l, time.Now())
}

func (m *meter) tick(l *live, now time.Time) error {
	if m.tell == nil || now.Sub(m.last) < costEvery {
		return nil
	}
	m.last = now
	costs, err := l.costs()
	if err != nil {
		return err
	}
	m.tell(costs)
	return nil
}

func (m *meter) stop() error {
	if m.stats == nil {
		return nil
	}
	return m.stats.Close()
}

// costs measures each sensor that there is.
func (l *live) costs() (all []SensorCost, err error) {
	type sensor interface{ Cost() (hook.Cost, error) }
	seen := map[int64]bool{}
	add := func(name string, there bool, s sensor) {
		if !there || err != nil {
			return
		}
		var c hook.Cost
		if c, err = s.Cost(); err != nil {
			return
		}
		one := SensorCost{Name: name, Programs: c.Programs, Runs: c.Runs, Time: c.Time}
		for id, bytes := range c.Memory {
			if !seen[id] {
				one.Memory += bytes
			}
			seen[id] = true
		}
		if s, ok := s.(interface{ Lacks() []string }); ok {
			one.Lacks = s.Lacks()
		}
		all = append(all, one)
	}
	add("owners", l.owners != nil, l.owners)
	add("drops", l.drops != nil, l.drops)
	add("flows", l.flows != nil, l.flows)
	add("conns", l.conns.sensor != nil, l.conns.sensor)
	add("queries", l.queries.sensor != nil, l.queries.sensor)
	add("requests", l.requests.sensor != nil, l.requests.sensor)
	add("tls", l.plaintext.sensor != nil, l.plaintext.sensor)
	add("urls", l.counts.sensor != nil, l.counts.sensor)
	return all, err
}
