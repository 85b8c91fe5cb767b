package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// eventCost is what netfate's program on a hook takes for one event more than
// an empty one, ns, by round.
type eventCost struct {
	hook, workload string
	program, empty []float64
	over           []float64
	events         uint64
}

// measureEvents compares netfate's programs with empty ones by the kernel's
// own statistics: on the same hooks, the same events, at the same time. Half of
// the empty ones are attached before netfate's and half behind, since who
// comes first finds colder caches.
func measureEvents(w *wire, r *results) error {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return fmt.Errorf("switch on statistics: %w", err)
	}
	before, err := attachEmpties()
	if err != nil {
		return errors.Join(err, stats.Close())
	}
	r.events = map[string]*eventCost{}
	err = errors.Join(
		eventsBeside(w, r, before, "", workloads(), func() (*netfate, error) { return startNetfate(r.cfg.netfate) }),
		eventsBeside(w, r, before, ", captured", workloads()[:1], func() (*netfate, error) {
			return launch(r.cfg.netfate, nil, "capture", "-w", os.DevNull, "-s", "96")
		}))
	return errors.Join(err, before.close(), stats.Close())
}

// eventsBeside measures one netfate between two sets of empty programs; what tells its
// rows from others'.
func eventsBeside(w *wire, r *results, before *empties, what string, loads []workload, start func() (*netfate, error)) error {
	n, err := start()
	if err != nil {
		return err
	}
	behind, err := attachEmpties()
	if err == nil {
		err = errors.Join(eventRounds(w, r, n, [2]*empties{before, behind}, what, loads), behind.close())
	}
	return errors.Join(err, n.stop())
}

func eventRounds(w *wire, r *results, n *netfate, e [2]*empties, what string, loads []workload) error {
	time.Sleep(settle)
	for range r.cfg.rounds {
		for _, l := range loads {
			if err := eventRound(w, r, n, e, what, l); err != nil {
				return err
			}
		}
	}
	return nil
}

func eventRound(w *wire, r *results, n *netfate, e [2]*empties, what string, l workload) error {
	first, err := readRuns(n, e)
	if err != nil {
		return err
	}
	packets, err := w.play(l, r.cfg.slice)
	if err != nil {
		return err
	}
	last, err := readRuns(n, e)
	if err != nil {
		return err
	}
	for _, hook := range tracepoints() {
		program := last[0][hook].since(first[0][hook])
		a, b := last[1][hook].since(first[1][hook]), last[2][hook].since(first[2][hook])
		// A hook that the workload does not hit tells nothing.
		if program.count < packets/20 || program.count == 0 || a.count == 0 || b.count == 0 {
			continue
		}
		key := hook + ", " + l.name + what
		c := r.events[key]
		if c == nil {
			c = &eventCost{hook: hook, workload: l.name + what}
			r.events[key] = c
			r.eventOrder = append(r.eventOrder, key)
		}
		c.add(program, a, b)
	}
	return nil
}

// add takes one round: the runs of netfate's program, and of both empty ones.
func (c *eventCost) add(program, a, b runs) {
	empty := (a.each() + b.each()) / 2
	c.program, c.empty = append(c.program, program.each()), append(c.empty, empty)
	c.over = append(c.over, program.each()-empty)
	c.events += program.count
}

// readRuns reads the statistics of netfate's programs and of both empty sets.
func readRuns(n *netfate, e [2]*empties) (all [3]map[string]runs, err error) {
	var err0, err1, err2 error
	all[0], err0 = n.runs()
	all[1], err1 = e[0].runs()
	all[2], err2 = e[1].runs()
	return all, errors.Join(err0, err1, err2)
}
