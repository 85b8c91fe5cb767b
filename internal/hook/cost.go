package hook

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// Cost is what programs and their maps take in the kernel.
type Cost struct {
	Programs int
	// Runs and Time are counted only while statistics are on
	// (kernel.bpf_stats_enabled, BPF_ENABLE_STATS).
	Runs uint64
	Time time.Duration
	// Memory is bytes by map and program, since sensors share maps: the keys are
	// ids, those of programs below zero.
	Memory map[int64]uint64
}

// Measure adds up what programs, by any names, and maps take at the moment. What
// cannot be read, as memory without /proc, is left out.
func Measure(maps map[string]*ebpf.Map, programs ...map[string]*ebpf.Program) (Cost, error) {
	c := Cost{Memory: map[int64]uint64{}}
	for _, some := range programs {
		for name, p := range some {
			if p == nil {
				continue
			}
			stats, err := p.Stats()
			if err != nil {
				return c, fmt.Errorf("read the statistics of %s: %w", name, err)
			}
			c.Programs++
			c.Runs += stats.RunCount
			c.Time += stats.Runtime
			if info, err := p.Info(); err == nil {
				id, _ := info.ID()
				c.Memory[-int64(id)], _ = info.Memlock()
			}
		}
	}
	for _, m := range maps {
		if info, err := m.Info(); err == nil {
			id, _ := info.ID()
			c.Memory[int64(id)], _ = info.Memlock()
		}
	}
	return c, nil
}
