// Package conn is the sensor that knows TCP connections: when they open, fail
// and close, who ended them and why, and how those fare that are open.
//
// It loads bpf/conn.bpf.c, reads its ring and iterates over its table; it knows
// no output. The agent imports it.
package conn

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/counting"
	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/hook"
)

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf" bpf ../../../bpf/conn.bpf.c

// Config says how to watch connections.
type Config struct {
	// Owners is the owner sensor's map; nil leaves connections without owners.
	Owners *ebpf.Map
	// Types are the kernel's types, if another sensor has decoded them; nil
	// decodes them anew.
	Types *btf.Cache
	// MaxConns bounds the connections and listeners that are followed while they
	// are open, 0 for 131,072, which take 20 MB of the kernel's memory. Of more
	// the end is told, not the beginning.
	MaxConns uint32
	// Without lists capabilities, by the names that doctor has for them, to do
	// without as if this kernel lacked them: fexit, iter_task_file and
	// iter_map_elem.
	Without []string
	// Raw uses raw tracepoints where typed ones would do, as kernels that
	// refuse those need it: owners are then not told.
	Raw bool
}

// The programs beside those of tracepoints.
const (
	openConns = "open_conns"
	findConns = "find_conns"
	connect4  = "tcp_v4_connect"
	connect6  = "tcp_v6_connect"
)

const blind = "a connect that finds no route, or may not, is not told (functions have to be watched for that)"

// cause says what an error adds to what is lacking. Why a kernel refuses a kind
// of program is doctor's to say, which has tried more than this.
func cause(err error) string {
	if errors.Is(err, unix.EPERM) || errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, btf.ErrNotFound) {
		return "; netfate doctor says why"
	}
	return ": " + err.Error()
}

// Sensor watches connections. Its methods belong to one goroutine.
type Sensor struct {
	cfg    Config
	spec   *ebpf.CollectionSpec // with the constants set; programs are loaded from copies
	coll   *ebpf.Collection     // all maps, and the programs of tracepoints
	hooks  *hook.Set
	more   map[string]*ebpf.Program // those that this kernel could load of the others
	links  []link.Link
	open   *link.Iter // over the table
	files  *link.Iter // over the open files of all processes
	errors *counting.Errors
	ring   *ringbuf.Reader
	raw    ringbuf.Record
	lacks  []string
}

// New loads the programs. Nothing is attached yet. What this kernel cannot load
// beside the tracepoints is left out and listed by Lacks.
func New(cfg Config) (*Sensor, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read the connection object: %w", err)
	}
	if cfg.Types == nil {
		cfg.Types = btf.NewCache()
	}
	opts := ebpf.CollectionOptions{Cache: cfg.Types}
	if err := hook.UseOwners(spec, cfg.Owners, &opts); err != nil {
		return nil, err
	}
	if cfg.MaxConns != 0 {
		spec.Maps["conns"].MaxEntries = cfg.MaxConns
	}
	s := &Sensor{cfg: cfg, spec: spec, more: map[string]*ebpf.Program{}}
	tracepoints := []string{"inet_sock_set_state", "tcp_send_reset", "tcp_receive_reset"}
	s.hooks, s.coll, err = hook.Load(spec, tracepoints, cfg.Raw, opts, func(*ebpf.CollectionSpec) error { return nil })
	if err != nil {
		return nil, fmt.Errorf("load the connection sensor: %w", err)
	}
	s.loadMore()
	s.errors = counting.NewErrors("connections", s.coll.Maps["errors"], s.hooks.Programs(s.coll),
		"the kernel skipped these changes of connections: they are not told")
	if s.ring, err = ringbuf.NewReader(s.coll.Maps["conn_events"]); err != nil {
		s.free()
		return nil, fmt.Errorf("open the ring of connections: %w", err)
	}
	return s, nil
}

// loadMore loads what not every kernel has.
func (s *Sensor) loadMore() {
	s.try("iter_map_elem", "connections that no process has open any more are not listed while they end (iterators over maps came with 5.9)", openConns)
	s.try("iter_task_file", "connections that are older than netfate are told when they close only (iterators over open files came with 5.8)", findConns)
	if err := s.safeExit(); err != nil {
		s.lacks = append(s.lacks, blind+cause(err))
		return
	}
	s.try("fexit", blind, connect4, connect6)
}

// safeExit reports whether the exit of a function that sleeps may be watched:
// kernels without e21aa341785c (5.12), which brought the type, crash when
// that ends meanwhile.
func (s *Sensor) safeExit() error {
	kernel, err := s.cfg.Types.Kernel()
	if err != nil {
		return err
	}
	var image *btf.Struct
	if err := kernel.TypeByName("bpf_tramp_image", &image); err != nil {
		return errors.New("5.12 is the first kernel where that is safe")
	}
	return nil
}

// try loads programs that stand for a capability, all that this kernel has the
// functions for, or notes what is lost without them.
func (s *Sensor) try(capability, lack string, programs ...string) {
	if slices.Contains(s.cfg.Without, capability) {
		s.lacks = append(s.lacks, lack)
		return
	}
	spec := s.spec.Copy()
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return !slices.Contains(programs, name) })
	for _, name := range programs {
		one := spec.Copy()
		maps.DeleteFunc(one.Programs, func(other string, _ *ebpf.ProgramSpec) bool { return other != name })
		coll, err := ebpf.NewCollectionWithOptions(one, ebpf.CollectionOptions{Cache: s.cfg.Types, MapReplacements: s.coll.Maps})
		if err != nil {
			s.lacks = append(s.lacks, lack+cause(err))
			return
		}
		s.more[name] = coll.DetachProgram(name)
		coll.Close()
	}
}

// Lacks lists what could not be loaded or attached, each with what it costs.
func (s *Sensor) Lacks() []string { return append(s.hooks.Lacks(), s.lacks...) }

// Attach starts telling of connections, and finds those that are older.
func (s *Sensor) Attach() error {
	s.attachExits()
	if err := s.hooks.Attach(s.coll); err != nil {
		return err
	}
	s.cfg.Types = nil // nobody needs them any more
	if err := s.attachIters(); err != nil {
		return err
	}
	if s.files == nil {
		return nil
	}
	// Keeps those that are older, for the tracepoints to know.
	_, err := readAll(s.files)
	return err
}

func (s *Sensor) attachIters() (err error) {
	if p := s.more[openConns]; p != nil {
		if s.open, err = link.AttachIter(link.IterOptions{Program: p, Map: s.coll.Maps["conns"]}); err != nil {
			return fmt.Errorf("attach the iterator over connections: %w", err)
		}
	}
	if p := s.more[findConns]; p != nil {
		if s.files, err = link.AttachIter(link.IterOptions{Program: p}); err != nil {
			return fmt.Errorf("attach the iterator over open files: %w", err)
		}
	}
	return nil
}

// attachExits watches connects return, both or none: before the tracepoints, so
// that these know whether to tell of failures that the exits tell better.
func (s *Sensor) attachExits() {
	if s.more[connect4] == nil || s.more[connect6] == nil {
		return
	}
	for _, name := range []string{connect4, connect6} {
		l, err := link.AttachTracing(link.TracingOptions{Program: s.more[name]})
		if err != nil {
			s.lacks = append(s.lacks, blind+cause(err))
			s.unlink()
			return
		}
		s.links = append(s.links, l)
	}
	if err := s.coll.Variables["have_connect_exit"].Set(true); err != nil {
		s.lacks = append(s.lacks, fmt.Sprintf("failed connects may be told twice: %v", err))
	}
}

func readAll(it *link.Iter) ([]byte, error) {
	rows, err := it.Open()
	if err != nil {
		return nil, fmt.Errorf("open the iterator: %w", err)
	}
	text, err := io.ReadAll(rows)
	if err = errors.Join(err, rows.Close()); err != nil {
		return nil, fmt.Errorf("read the iterator: %w", err)
	}
	return text, nil
}

// Next reads the next change of a connection into e, and waits for one until
// deadline. ok is false if there is none.
func (s *Sensor) Next(deadline time.Time, e *decode.ConnEvent) (ok bool, err error) {
	s.ring.SetDeadline(deadline)
	err = s.ring.ReadInto(&s.raw)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read the changes of connections: %w", err)
	}
	_, err = decode.Connection(s.raw.RawSample, e)
	return err == nil, err
}

// Open visits every connection and listener that is open, once: about 1 ms for
// each thousand, or, where the kernel has no iterators over maps, for each
// thousand files that processes have open. The pointer is good until visit
// returns.
func (s *Sensor) Open(visit func(*decode.ConnEvent)) error {
	it := s.open
	if it == nil {
		it = s.files
	}
	if it == nil {
		return nil
	}
	text, err := readAll(it)
	if err != nil {
		return fmt.Errorf("connections: %w", err)
	}
	seen := map[decode.Conn]bool{} // several processes may have one open
	var row decode.ConnEvent
	for len(text) > 0 {
		if text, err = decode.Connection(text, &row); err != nil {
			return err
		}
		if s.open == nil {
			if seen[row.Conn] {
				continue
			}
			seen[row.Conn] = true
		}
		visit(&row)
	}
	return nil
}

// Losses returns what could not be kept since the last call.
func (s *Sensor) Losses() ([]counting.Loss, error) { return s.errors.Since() }

func (s *Sensor) unlink() {
	for _, l := range s.links {
		_ = l.Close() // the kernel has taken it off then, or never had it on
	}
	s.links = nil
}

// Detach stops telling of connections; what was told can still be read.
func (s *Sensor) Detach() error {
	s.unlink()
	err := s.hooks.Detach()
	for _, it := range []**link.Iter{&s.open, &s.files} {
		if *it != nil {
			err = errors.Join(err, (*it).Close())
			*it = nil
		}
	}
	return err
}

func (s *Sensor) free() {
	for _, p := range s.more {
		p.Close()
	}
	s.coll.Close()
}

// Close detaches and frees everything.
func (s *Sensor) Close() error {
	err := errors.Join(s.Detach(), s.ring.Close())
	s.free()
	return err
}

// Cost returns what the sensor takes in the kernel.
func (s *Sensor) Cost() (hook.Cost, error) {
	return hook.Measure(s.coll.Maps, s.coll.Programs, s.more)
}
