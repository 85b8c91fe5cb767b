package arch

import (
	"path"
	"slices"
)

// module is the import path of this module.
const module = "github.com/netfate/netfate"

// The levels of the house. A package imports packages of lower levels only;
// those of one level are brothers and never import each other.
const (
	nouns    = iota // what everybody speaks of
	facts           // what one thing says by itself
	shared          // what parts of one kind have in common
	gear            // what the parts are driven by
	tables          // what results add up to, and how they are shown
	parts           // what reads the kernel, and what writes results
	wiring          // the one list of everything
	programs        // main packages and the tests that drive them
)

// place is one row of the table of the house: packages, and what they may do.
type place struct {
	dir   string // directory below the module; * stands for one path element
	level int

	stdOnly bool     // imports the standard library and nothing else
	pure    bool     // no clock, no goroutine, no lock
	ebpf    []string // packages of cilium/ebpf that it may import; "*" for all
	testing bool     // only tests and what is below test/ import it
}

// house returns the table of all places there are. A package that is not in it
// fails the test: decide where it belongs first.
func house() []place {
	all := []string{"*"}
	return []place{
		{dir: "internal/record", level: nouns, stdOnly: true, pure: true},

		{dir: "internal/nearest", level: nouns, stdOnly: true, pure: true},
		{dir: "internal/language", level: nouns, stdOnly: true, pure: true},

		{dir: "internal/decode", level: facts, pure: true},
		{dir: "internal/verdict", level: facts, pure: true},
		{dir: "internal/packet", level: facts, pure: true},
		{dir: "internal/tls", level: facts, pure: true},
		{dir: "internal/nft", level: facts, pure: true},
		{dir: "internal/ethtool", level: facts},
		{dir: "internal/kernel", level: facts, ebpf: all},
		// A filter is instructions, put into a program that is not loaded yet.
		{dir: "internal/filter", level: facts, ebpf: []string{"asm", "btf", ""}},

		// What a user's object says: sections, types, events.
		{dir: "internal/section", level: facts, pure: true, ebpf: []string{""}},
		{dir: "internal/value", level: facts, pure: true, ebpf: []string{"btf"}},
		{dir: "internal/eventtype", level: facts, pure: true, ebpf: []string{"asm", "btf", ""}},
		// link is for its test, which attaches to a probe.
		{dir: "internal/usdt", level: facts, ebpf: []string{"asm", "btf", "link", ""}},
		{dir: "internal/tlslib", level: facts},
		{dir: "internal/tracelog", level: facts},
		{dir: "internal/runstate", level: facts, stdOnly: true},

		// What a process gives up.
		{dir: "internal/confine", level: facts},

		// What the daemon's file says.
		{dir: "internal/config", level: facts},

		// What is asked of a store; the stores are parts.
		{dir: "internal/history", level: facts},

		// What every exporter owes; the exporters are parts.
		{dir: "internal/export", level: facts},
		{dir: "internal/outbox", level: shared},

		// Tables are keyed by what decode reads, so it is below them.
		{dir: "internal/table", level: shared, pure: true},
		// Conversations in packets: streams in order, and what they say.
		{dir: "internal/stream", level: shared, pure: true},

		{dir: "internal/alert", level: gear, pure: true},
		{dir: "internal/diff", level: gear, pure: true},
		{dir: "internal/flows", level: gear, pure: true},
		{dir: "internal/wire", level: gear},
		{dir: "internal/dns", level: gear, pure: true},
		{dir: "internal/http", level: gear, pure: true},
		{dir: "internal/quic", level: gear, pure: true},
		// How sensors attach and how they read counts: they are brothers, so
		// what they share is below them.
		{dir: "internal/hook", level: shared, ebpf: all},
		{dir: "internal/counting", level: shared, ebpf: all},

		{dir: "internal/sensor/*", level: parts, ebpf: all},
		{dir: "internal/loader", level: parts, ebpf: all},
		{dir: "internal/enrich/*", level: parts},
		{dir: "internal/evidence", level: gear},
		// asm is for its tests, which attach programs.
		{dir: "internal/ledger/counters", level: gear, ebpf: []string{"asm", "link", ""}},
		{dir: "internal/inventory", level: gear, ebpf: all},
		{dir: "internal/bpfmap", level: gear, ebpf: all},
		{dir: "internal/ledger", level: parts},
		{dir: "internal/recording", level: parts},
		{dir: "internal/capture", level: parts},
		// Without a file or a library, it is what those stand on who only need some store.
		{dir: "internal/history/memory", level: gear},
		{dir: "internal/history/*", level: parts},
		{dir: "internal/export/*", level: parts},
		{dir: "internal/view/table", level: tables},
		{dir: "internal/view/programs", level: parts, ebpf: []string{"btf"}},
		{dir: "internal/view/*", level: parts},
		{dir: "internal/api", level: parts},
		{dir: "internal/webui", level: parts},

		{dir: "internal/agent", level: wiring},

		{dir: "cmd/netfate", level: programs},
		{dir: "internal/arch", level: programs},
		{dir: "tools/*", level: programs, ebpf: []string{"btf"}},
		{dir: "test/parse", level: programs, testing: true},
		{dir: "test/sensor", level: programs, ebpf: all, testing: true},
		{dir: "test/ledger", level: programs, ebpf: all, testing: true},
		{dir: "test/wire", level: programs, testing: true},
		{dir: "test/need", level: programs, testing: true},
		{dir: "test/handshake", level: programs, testing: true},
		{dir: "test/historytest", level: gear, testing: true},
		{dir: "test/exporttest", level: gear, testing: true},
		{dir: "test/clickhouse", level: facts, stdOnly: true, testing: true},
		{dir: "test/export", level: programs, testing: true},
		{dir: "test/clients", level: programs, testing: true},
		{dir: "test/term", level: nouns, testing: true},
		{dir: "test/netlab", level: nouns, ebpf: all, testing: true},
		{dir: "test/web", level: facts, ebpf: all, testing: true},
		{dir: "test/witness", level: programs, ebpf: all, testing: true},
		{dir: "test/scenario", level: programs, ebpf: all, testing: true},
		{dir: "test/scenario/*", level: programs, ebpf: all},
		{dir: "test/faults", level: programs, ebpf: all, testing: true},
		{dir: "test/loader", level: programs, ebpf: all, testing: true},
		{dir: "test/kernels", level: programs, ebpf: all, testing: true},
		{dir: "test/packages", level: programs, testing: true},
		{dir: "test/vm", level: programs, testing: true},
		{dir: "test/vm/*", level: programs},
		{dir: "test/webui", level: programs},
		{dir: "test/bench", level: programs, ebpf: all},
		{dir: "test/bench/peers", level: facts, ebpf: []string{"btf"}, testing: true},
		{dir: "test/bench/*", level: programs, ebpf: all},
	}
}

// find returns the place of the package in dir, false if it has none.
func find(dir string) (place, bool) {
	for _, p := range house() {
		if ok, err := path.Match(p.dir, dir); ok && err == nil {
			return p, true
		}
	}
	return place{}, false
}

// forbiddenNames are names that say nothing of what a package is for.
func forbiddenNames() []string {
	return []string{
		"pkg", "common", "util", "utils", "helper", "helpers", "types", "model", "models",
		"core", "manager", "base", "misc",
	}
}

// library reports whether p is a place below the agent, where results go back
// to the caller: it neither logs nor prints nor ends the program.
func (p place) library() bool { return p.level < wiring && !p.testing }

// mayUseEBPF reports whether p may import the package sub of cilium/ebpf; ""
// is the main one.
func (p place) mayUseEBPF(sub string) bool {
	return slices.Contains(p.ebpf, "*") || slices.Contains(p.ebpf, sub)
}
