package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/capture"
	"github.com/netfate/netfate/internal/enrich/netns"
	"github.com/netfate/netfate/internal/record"
)

// wireFlags has -i read an interface whole, where it selects records otherwise.
func (w *watch) wireFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Lookup("interface").Usage = "read all packets of this interface, also what is only forwarded; with -r: only this interface"
	f.Lookup("netns").Usage += "; with -i: the one that it is in"
	f.BoolVar(&w.promiscuous, "promisc", false, "with -i: packets for other hosts too, as mirror ports and bridges have them")
	w.reads = true
}

// onWire reports whether packets are read from an interface.
func (w *watch) onWire() bool { return w.reads && w.iface != "" && !w.gone() }

// prepareWire is prepare for packets of an interface.
func (w *watch) prepareWire(ctx context.Context, args []string) error {
	if w.pid != 0 || w.comm != "" || w.container != "" {
		return usagef("-i %s reads packets, which no process owns: leave it out to select by process or container, or leave those out", w.iface)
	}
	if err := w.prepare(ctx, nil); err != nil {
		return err
	}
	w.cfg.Select = agent.Select{} // everything is of the interface
	return w.selectPackets(ctx, expression(args))
}

// listen feeds the outputs with what decoders make of the packets of an interface.
func (w *watch) listen(ctx context.Context, what string, outputs []agent.Output, decoders ...capture.Decoder) (err error) {
	from, err := w.place(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if w.duration > 0 {
		time.AfterFunc(w.duration, cancel)
	}
	from.Source, err = capture.Listen(ctx, capture.Live{
		Interface: w.iface, NetNS: from.path, Promiscuous: w.promiscuous, Interval: w.every, Filter: w.filter,
	}, decoders...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if what = tongue().Translate(what); w.netns == "" {
		say("reading %s on interface %s; Ctrl-C ends", what, w.iface)
	} else {
		say("reading %s on interface %s in namespace %s; Ctrl-C ends", what, w.iface, w.netns)
	}
	// The source ends with ctx, and gives what it has first.
	return agent.Replay(context.WithoutCancel(ctx), from, w.cfg.Select, outputs)
}

// placed is a source of records that are all of one namespace.
type placed struct {
	*capture.Source
	path   string // of the namespace; empty is this process's
	host   string
	inode  uint32
	called string
}

// place finds the namespace that is meant.
func (w *watch) place(ctx context.Context) (p placed, err error) {
	if p.host, err = os.Hostname(); err != nil {
		return p, err
	}
	spec := cmp.Or(w.netns, "/proc/self/ns/net")
	names := netns.New(netns.Config{})
	if p.inode, err = names.Resolve(ctx, spec); err != nil {
		return p, usageError{fmt.Errorf("--netns: %w", err)}
	}
	names.Name(p.inode) // asks for it
	if err := names.Refresh(ctx); err != nil {
		return p, fmt.Errorf("--netns: %w", err)
	}
	p.called = names.Name(p.inode)
	if w.netns == "" {
		return p, nil
	}
	path, ok := names.Path(p.inode)
	if !ok {
		return p, usagef("--netns %s: no way into it is known: neither a name nor a process has it", w.netns)
	}
	p.path = path
	return p, nil
}

// Next returns the next batch, its records told where they are from.
func (p placed) Next() (*record.Batch, error) {
	b, err := p.Source.Next()
	if b == nil {
		return nil, err
	}
	for i := range b.Queries {
		p.tell(&b.Queries[i].Endpoints)
	}
	for i := range b.Requests {
		p.tell(&b.Requests[i].Endpoints)
	}
	return b, err
}

func (p *placed) tell(e *record.Endpoints) { e.Host, e.NetNS, e.NetNSName = p.host, p.inode, p.called }
