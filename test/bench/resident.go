package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// measureStarts starts netfate several times.
func measureStarts(_ *wire, r *results) error {
	for range r.cfg.starts {
		n, err := startNetfate(r.cfg.netfate)
		if err != nil {
			return err
		}
		r.starts = append(r.starts, float64(n.attached.Microseconds())/1000)
		used, err := n.cpu()
		if err = errors.Join(err, n.stop()); err != nil {
			return err
		}
		r.startCPU = append(r.startCPU, float64(used.Milliseconds()))
	}
	return nil
}

// settle is how long what netfate does once, after it has attached, may take:
// above all reading the kernel's symbols.
const settle = time.Second

// measureIdle watches netfate while this program sends nothing. The host may
// have traffic of its own: the events that netfate's programs saw tell.
func measureIdle(_ *wire, r *results) (err error) {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return fmt.Errorf("switch on statistics: %w", err)
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	n, err := startNetfate(r.cfg.netfate)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.stop()) }()
	time.Sleep(settle)
	before, err1 := n.cpu()
	first, err2 := n.runs()
	begin := time.Now()
	time.Sleep(r.cfg.idle)
	after, err3 := n.cpu()
	wall := time.Since(begin)
	last, err4 := n.runs()
	now, _, err5 := n.memory()
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	var events uint64
	for hook := range last {
		events += last[hook].since(first[hook]).count
	}
	r.idleCPU = 100 * float64(after-before) / float64(wall)
	r.idleEvents = float64(events) / wall.Seconds()
	r.idleMemory = now
	r.maps, err = n.maps()
	slices.SortFunc(r.maps, func(a, b kernelMap) int { return int(b.bytes) - int(a.bytes) })
	return err
}

// storm is as many flows as netfate's tables hold: the most memory that it has
// any use for.
const storm = 65_000

// measureMemory reads netfate's memory under traffic of many flows.
func measureMemory(w *wire, r *results) (err error) {
	n, err := startNetfate(r.cfg.netfate)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.stop()) }()
	for _, step := range []struct {
		flows int
		port  uint16
		got   *uint64
	}{
		{5000, openPort, &r.flowMemory},
		{5000, closedPort, &r.loadMemory}, // the other flows are still shown
		{storm, openPort, &r.stormMemory},
		{storm, closedPort, &r.stormMemory},
	} {
		if _, err := w.play(workload{flows: step.flows, port: step.port}, 3*r.cfg.slice); err != nil {
			return err
		}
		if *step.got, r.peakMemory, err = n.memory(); err != nil {
			return err
		}
	}
	return nil
}
