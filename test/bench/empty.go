package main

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// tracepoints returns the hooks that netfate counts at.
func tracepoints() []string {
	return []string{
		"kfree_skb", "netif_receive_skb", "net_dev_start_xmit", "net_dev_xmit", "sock_send_length", "sock_recv_length",
	}
}

// empties are programs that do nothing, one on each hook that netfate uses:
// what calling a program there costs at the least.
type empties struct {
	progs map[string]*ebpf.Program
	links []link.Link
}

// attachEmpties loads and attaches them, of the same type as netfate's.
func attachEmpties() (e *empties, err error) {
	e = &empties{progs: map[string]*ebpf.Program{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	for _, name := range tracepoints() {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: "empty", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: name, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err != nil {
			return e, fmt.Errorf("load an empty program for %s: %w", name, err)
		}
		e.progs[name] = p
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return e, fmt.Errorf("attach an empty program to %s: %w", name, err)
		}
		e.links = append(e.links, l)
	}
	return e, nil
}

// close detaches and unloads them.
func (e *empties) close() error {
	var errs []error
	for _, l := range e.links {
		errs = append(errs, l.Close())
	}
	for _, p := range e.progs {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// runs is how often a program ran and for how long, since it was loaded.
type runs struct {
	count, ns uint64
}

func (r runs) since(before runs) runs { return runs{r.count - before.count, r.ns - before.ns} }

// each returns the nanoseconds of one run.
func (r runs) each() float64 { return float64(r.ns) / float64(r.count) }

// runs returns the statistics of each by its hook.
func (e *empties) runs() (map[string]runs, error) {
	all := map[string]runs{}
	for name, p := range e.progs {
		stats, err := p.Stats()
		if err != nil {
			return nil, fmt.Errorf("read the statistics of an empty program: %w", err)
		}
		all[name] = runs{stats.RunCount, uint64(stats.Runtime)}
	}
	return all, nil
}
