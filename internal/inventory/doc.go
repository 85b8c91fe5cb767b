// Package inventory lists what of BPF is on the host: every program and map,
// whoever loaded it, with where it is attached, which processes hold it and where
// it is pinned.
//
// It only looks: it attaches nothing, pins nothing and follows no traffic. What it
// finds is as of the moment at which each thing was asked for; what goes away
// meanwhile is left out. Programs that are attached by the ioctl of a perf event,
// as old loaders do, and programs that only a tail call reaches are listed without
// a place: the kernel tells none of an object by its id.
//
// The loader's neighbours above it (the views) and the commands import it.
package inventory

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/runstate"
)

// Config says where to look. The zero value is this host.
type Config struct {
	// Proc is where procfs is mounted; empty for /proc.
	Proc string
	// States is the directory of the states of netfate run; empty for
	// runstate.DefaultDir.
	States string
	// Note is told, once a cause, what could not be read; nil for nobody. It is
	// called before the function that has this Config returns, in its goroutine.
	Note func(text string)
}

// Bounds of one look at a host: what is beyond is not looked at, and noted.
const (
	maxFiles      = 1_000_000 // open files of all processes
	maxPins       = 100_000   // entries of all BPF file systems
	maxCgroups    = 100_000
	maxNamespaces = 1_000
)

// Owner is a process that holds an object open.
type Owner struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"`
	// Netfate is set if the process runs a program called netfate.
	Netfate bool `json:"-"`
}

// EnableStats has the kernel count the runs of all programs and their time until
// the result is closed; without, Program.Runs stands still. It costs each run of
// each program some tens of ns. Linux 5.8 and newer.
func EnableStats() (io.Closer, error) {
	c, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("count runs of programs: %w", err)
	}
	return c, nil
}

// StatsEnabled reports whether the kernel counts runs all the time, by sysctl.
func StatsEnabled() bool {
	b, err := os.ReadFile("/proc/sys/kernel/bpf_stats_enabled")
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// scan is one look at the host.
type scan struct {
	cfg    Config
	missed map[string]*missed
	order  []string

	owned  owned
	perf   []perfEvent
	pinned map[object][]string
}

// missed is what could not be read, for one cause.
type missed struct {
	count int
	first error
}

// object is a program, map or link by its id.
type object struct {
	kind kind
	id   uint32
}

type kind string

const (
	programKind kind = "prog"
	mapKind     kind = "map"
	linkKind    kind = "link"
)

func newScan(cfg Config) *scan {
	if cfg.Proc == "" {
		cfg.Proc = "/proc"
	}
	if cfg.States == "" {
		cfg.States = runstate.DefaultDir
	}
	return &scan{cfg: cfg, missed: map[string]*missed{}}
}

// miss counts something that could not be read; what went away is no miss.
func (s *scan) miss(what string, err error) {
	if err == nil || errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return
	}
	m := s.missed[what]
	if m == nil {
		m = &missed{first: err}
		s.missed[what] = m
		s.order = append(s.order, what)
	}
	m.count++
}

// tell says what was missed.
func (s *scan) tell() {
	if s.cfg.Note == nil {
		return
	}
	for _, what := range s.order {
		m := s.missed[what]
		text := fmt.Sprintf("%s: %v", what, m.first)
		if m.count > 1 {
			text += fmt.Sprintf(" (and %d more)", m.count-1)
		}
		s.cfg.Note(text)
	}
}

// sorted returns a copy of texts without repeats, in order; never nil, since
// scripts read it as a JSON array.
func sorted(texts []string) []string {
	out := append([]string{}, texts...)
	slices.Sort(out)
	return slices.Compact(out)
}
