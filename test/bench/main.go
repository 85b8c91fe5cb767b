// Command bench measures what netfate costs and writes docs/benchmarks.md.
//
// It makes two network namespaces joined by a veth, floods one from the other,
// and compares: netfate's programs with empty programs on the same hooks and
// the same packets; rates and CPU time with netfate off, with only the empty
// programs, and with netfate on, in turns. It runs the real binary, reads what
// the kernel says of it, and knows none of netfate's packages but the sensors,
// whose allocations it counts.
//
// Machines are noisy: every figure is the median of several rounds, with the
// range beside it, and what is compared was measured seconds apart.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/netfate/netfate/test/bench/peers"
	"github.com/netfate/netfate/test/netlab"
)

// config is how long and with what to measure.
type config struct {
	netfate string        // path of the binary
	docs    string        // page to write the results into; empty for none
	rounds  int           // of every comparison
	slice   time.Duration // one workload in one round
	idle    time.Duration // for which an idle netfate is watched
	starts  int           // of netfate, for the time that it takes
	only    string        // packets, sockets or history; empty for these; or peers
	job     string        // that peers are measured in, empty for all
	peer    string        // that netfate is measured beside, empty for all
	sqlite  string        // path of the program that has SQLite beside the history
	days    int           // of records in the history
	hours   int           // of those that it is asked about
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	cfg, err := flags()
	if err != nil {
		return err
	}
	switch cfg.only {
	case "history":
		return publishHistory(cfg)
	case "peers":
		return publishPeers(cfg)
	}
	if cfg.only != "sockets" {
		r := &results{cfg: cfg, began: time.Now()}
		err = netlab.RunInterruptible(func(tb netlab.TB) {
			if err := measureAll(tb, r); err != nil {
				tb.Fatalf("%v", err)
			}
		})
		if err != nil {
			return err
		}
		if err := publish(cfg, pageBegin, pageEnd, r.markdown()); err != nil {
			return err
		}
	}
	if cfg.only == "packets" {
		return nil
	}
	s, err := newSockets(cfg)
	if err != nil {
		return err
	}
	if err := publish(cfg, socketsBegin, socketsEnd, s.markdown()); err != nil || cfg.only != "" {
		return err
	}
	return publishHistory(cfg)
}

// publishHistory measures the history and writes it into the page.
func publishHistory(cfg config) error {
	// Interrupted, it removes its files, which are large.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	h, err := newHistory(ctx, cfg)
	if err != nil {
		return err
	}
	return publish(cfg, historyBegin, historyEnd, h.markdown())
}

// publishPeers measures netfate beside its peers and writes that page.
func publishPeers(cfg config) error {
	s, err := newSide(cfg)
	if err != nil {
		return err
	}
	return publish(cfg, pageBegin, pageEnd, s.markdown())
}

// publish prints results and writes them into the page.
func publish(cfg config, begin, end, text string) error {
	fmt.Print(text)
	if cfg.docs == "" {
		return nil
	}
	return writePage(cfg.docs, begin, end, text)
}

func flags() (config, error) {
	self, err := os.Executable()
	if err != nil {
		return config{}, fmt.Errorf("find this program: %w", err)
	}
	cfg := config{rounds: 4, slice: 800 * time.Millisecond, idle: 20 * time.Second, starts: 5}
	flag.StringVar(&cfg.sqlite, "sqlite", filepath.Join(filepath.Dir(self), "bench-sqlite"), "the program that has SQLite beside the history; empty for none")
	flag.StringVar(&cfg.netfate, "netfate", filepath.Join(filepath.Dir(self), "netfate"), "the binary to measure")
	flag.StringVar(&cfg.docs, "docs", benchmarksPage, "the page to write the results into, with -only peers "+peersPage+"; empty for none")
	flag.StringVar(&cfg.only, "only", "", "measure one part: packets, sockets (what connections, requests and names cost), or history; or peers, which no other part includes")
	flag.StringVar(&cfg.job, "job", "", "with -only peers one job: drops, flows, processes, urls or names")
	flag.StringVar(&cfg.peer, "peer", "", "with -only peers one peer, by its name")
	flag.IntVar(&cfg.days, "days", 2, "days of records in a history that is kept as by default, 0 for none; 30 with -long")
	flag.IntVar(&cfg.hours, "hours", 84, "hours of records that the history is asked about")
	long := flag.Bool("long", false, "take ten minutes instead of two, for figures with less noise")
	quick := flag.Bool("quick", false, "take seconds, only to see that everything runs")
	flag.Parse()
	switch {
	case !slices.Contains([]string{"", "packets", "sockets", "history", "peers"}, cfg.only):
		return cfg, fmt.Errorf("-only is packets, sockets, history or peers, not %q", cfg.only)
	case cfg.job != "" && !slices.Contains(peers.Jobs(), peers.Job(cfg.job)):
		return cfg, fmt.Errorf("-job is one of %v, not %q", peers.Jobs(), cfg.job)
	case flag.NArg() > 0:
		return cfg, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case *long && *quick:
		return cfg, errors.New("-long and -quick exclude each other")
	case *long:
		cfg.rounds, cfg.slice, cfg.idle, cfg.starts, cfg.days = 15, 2*time.Second, time.Minute, 15, 30
	case *quick:
		cfg.rounds, cfg.slice, cfg.idle, cfg.starts, cfg.days, cfg.hours = 1, 200*time.Millisecond, time.Second, 1, 0, 2
	}
	if cfg.only == "peers" {
		cfg.forPeers()
	}
	if _, err := os.Stat(cfg.netfate); err != nil {
		return cfg, fmt.Errorf("find netfate: %w; build it first, or name it with -netfate", err)
	}
	return cfg, nil
}

// forPeers is for what has so many arms that fewer rounds have to do, on a page of
// its own.
func (cfg *config) forPeers() {
	cfg.rounds = max(1, cfg.rounds*3/4)
	if cfg.docs == benchmarksPage {
		cfg.docs = peersPage
	}
}

// measureAll fills r. What needs quiet comes first.
func measureAll(tb netlab.TB, r *results) error {
	w := newWire(tb)
	for _, step := range []struct {
		what string
		f    func(*wire, *results) error
	}{
		{"the time from start to attached", measureStarts},
		{"an idle netfate", measureIdle},
		{"the programs beside empty ones", measureEvents},
		{"rates with netfate off and on", measureRates},
		{"memory", measureMemory},
		{"allocations", measureAllocations},
	} {
		fmt.Fprintf(os.Stderr, "bench: measuring %s\n", step.what)
		if err := step.f(w, r); err != nil {
			return fmt.Errorf("measure %s: %w", step.what, err)
		}
	}
	return nil
}
