// Package tls is the sensor that reads what programs say through TLS, where
// their libraries encrypt and decrypt it.
//
// It loads bpf/tls.bpf.c, puts its programs into the libraries and programs
// that processes have mapped, and reads its ring; what is said is not its
// business. The agent imports it.
package tls

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/netfate/netfate/internal/counting"
	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/hook"
)

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf" bpf ../../../bpf/tls.bpf.c

// Config says what is read.
type Config struct {
	// Types are the kernel's types, if another sensor has decoded them; nil
	// decodes them anew.
	Types *btf.Cache
	// BodyBytes is how much is copied of a message of HTTP/1 with its head; 0 is
	// 16 KiB. What has more says how much is missing.
	BodyBytes uint32
	// Except is a process that is left alone, neither read nor told as unreadable: the
	// one that asks, as what it says is about what others say. 0 is none.
	Except uint32
	// MaxFiles is how many libraries and programs are watched; 0 is 512.
	MaxFiles int
	// Without names capabilities of netfate doctor's to do without: uprobe_multi,
	// fentry, sock_length. Tests see by it how kernels fare that lack them.
	Without []string
}

// Defaults of a Config.
const (
	bodyBytes = 16 << 10
	maxFiles  = 512
)

// Sensor reads what is said. Its methods belong to one goroutine.
//
// Of each connection, rows tell both directions in order, the first of each with
// a SYN if its handshake was seen, and at the end one without payload and with a
// FIN. Seq counts bytes from 0, and a SYN and a FIN are none of them; Ack is how
// many came and went the other way.
type Sensor struct {
	cfg    Config
	spec   *ebpf.CollectionSpec
	coll   *ebpf.Collection
	errors *counting.Errors
	ring   *hook.Packets

	sockets map[string]*ebpf.Program // tell the sockets of C's calls; loaded with the first
	links   []link.Link              // of those
	noSocks []string                 // why some or all of them are not there

	multi   bool                          // a link takes many places
	files   map[fileID][]link.Link        // that are watched
	refused *lru.Cache[contentID, string] // files that are not watched, and why
	known   *lru.Cache[processID, *looks]
	alive   map[uint32]uint8 // processes, and for how many calls of Discover they were there
	unread  map[string]bool
	excess  uint64 // files beyond MaxFiles since the last Losses
}

// way is programs that tell the sockets of C's calls.
type way struct {
	needs    string // the capability that it stands for, as doctor calls it
	programs []string
	must     int // so many of them are on every kernel
}

// ways returns them, the best first: a tracepoint is called for fewer sockets.
func ways() []way {
	return []way{
		{"sock_length", []string{"sock_send_length", "sock_recv_length"}, 2},
		{"fentry", []string{"inet_sendmsg", "inet_recvmsg", "inet6_sendmsg", "inet6_recvmsg"}, 2},
	}
}

// New loads the programs. Nothing is attached yet.
func New(cfg Config) (*Sensor, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read the TLS object: %w", err)
	}
	if cfg.Types == nil {
		cfg.Types = btf.NewCache()
	}
	if cfg.BodyBytes == 0 {
		cfg.BodyBytes = bodyBytes
	}
	if cfg.MaxFiles == 0 {
		cfg.MaxFiles = maxFiles
	}
	if err := hook.SetVariable(spec, "body_bytes", cfg.BodyBytes); err != nil {
		return nil, err
	}
	s := &Sensor{cfg: cfg, spec: spec, sockets: map[string]*ebpf.Program{}}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("load the TLS sensor: %w", err)
	}
	s.loadSockets()
	s.errors = counting.NewErrors("tls", s.coll.Maps["errors"], nil, "")
	if s.ring, err = hook.NewPackets(s.coll); err != nil {
		s.closeSockets()
		s.coll.Close()
		return nil, err
	}
	return s, s.forget()
}

// load loads the programs of uprobes: one for all beginnings where the kernel
// has links to many places, which then take two a file, else one for each kind.
func (s *Sensor) load() error {
	if !slices.Contains(s.cfg.Without, "uprobe_multi") && s.loadMulti() == nil {
		return nil
	}
	return s.loadOnly(slices.Concat(slices.Collect(maps.Values(programs())), []string{onReturn}), ebpf.AttachNone)
}

func (s *Sensor) loadMulti() error {
	if err := s.loadOnly([]string{onAny, onReturn}, ebpf.AttachTraceUprobeMulti); err != nil {
		return err
	}
	if err := s.tryMulti(); err != nil {
		s.coll.Close()
		return err
	}
	s.multi = true
	return nil
}

// loadOnly loads these programs, to be attached in this way.
func (s *Sensor) loadOnly(names []string, way ebpf.AttachType) (err error) {
	spec := s.spec.Copy()
	maps.DeleteFunc(spec.Programs, func(name string, p *ebpf.ProgramSpec) bool {
		p.AttachType = way
		return !slices.Contains(names, name)
	})
	s.coll, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: s.cfg.Types})
	return err
}

// Next is that of [hook.Packets].
func (s *Sensor) Next(deadline time.Time, e *decode.PacketEvent) (payload []byte, ok bool, err error) {
	return s.ring.Next(deadline, e)
}

// Losses returns what could not be kept since the last call.
func (s *Sensor) Losses() ([]counting.Loss, error) {
	losses, err := s.errors.Since()
	if s.excess > 0 {
		losses = append(losses, counting.Loss{
			Place: "tls", Reason: "too many files", Count: s.excess,
			Effect: fmt.Sprintf("%d libraries and programs are watched; what is said through TLS in further ones is not read", s.cfg.MaxFiles),
		})
		s.excess = 0
	}
	return losses, err
}

// Lacks says what this kernel cannot tell; nothing for most.
func (s *Sensor) Lacks() []string {
	if len(s.noSocks) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the sockets of OpenSSL and GnuTLS are not watched (%s): what they carry has no addresses", strings.Join(s.noSocks, "; "))}
}

// Unread lists files of processes that use TLS and cannot be read, with the
// reason, in the order of their names; not more than the first 64.
func (s *Sensor) Unread() []string { return slices.Sorted(maps.Keys(s.unread)) }

// loadSockets loads what tells the sockets of C's calls, in the best way that can
// be loaded.
func (s *Sensor) loadSockets() {
	var why []string
	for _, w := range ways() {
		if slices.Contains(s.cfg.Without, w.needs) {
			why = append(why, "without "+w.needs)
			continue
		}
		err := s.loadWay(w)
		if err == nil {
			return
		}
		why = append(why, err.Error())
	}
	s.noSocks = why
}

// loadWay loads all of its programs, or none. Those of IPv6, which come last, may
// be missing where the kernel was built without it.
func (s *Sensor) loadWay(w way) error {
	for i, name := range w.programs {
		err := s.loadSocket(name)
		if err == nil || i >= w.must && errors.Is(err, btf.ErrNotFound) {
			continue
		}
		s.closeSockets()
		return fmt.Errorf("load %s: %w", name, err)
	}
	return nil
}

func (s *Sensor) loadSocket(name string) error {
	spec := s.spec.Copy()
	maps.DeleteFunc(spec.Programs, func(other string, _ *ebpf.ProgramSpec) bool { return other != name })
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: s.cfg.Types, MapReplacements: s.shared()})
	if err != nil {
		return err
	}
	defer coll.Close()
	s.sockets[name] = coll.DetachProgram(name)
	return nil
}

func (s *Sensor) closeSockets() {
	for name, p := range s.sockets {
		p.Close()
		delete(s.sockets, name)
	}
}

// watchSockets attaches them, once there is a library of C.
func (s *Sensor) watchSockets() {
	if s.links != nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.sockets)) {
		if err := s.watchSocket(name); err != nil {
			s.noSocks = append(s.noSocks, fmt.Sprintf("attach %s: %v", name, err))
		}
	}
}

func (s *Sensor) watchSocket(name string) error {
	l, err := link.AttachTracing(link.TracingOptions{Program: s.sockets[name]})
	if err != nil {
		// 5.10 attaches no program of fentry a second time.
		s.sockets[name].Close()
		delete(s.sockets, name)
		if err := s.loadSocket(name); err != nil {
			return err
		}
		l, err = link.AttachTracing(link.TracingOptions{Program: s.sockets[name]})
	}
	if err == nil {
		s.links = append(s.links, l)
	}
	return err
}

// shared returns the maps that programs which are loaded later have in common
// with the others.
func (s *Sensor) shared() map[string]*ebpf.Map {
	return map[string]*ebpf.Map{
		"calls": s.coll.Maps["calls"], "under_way": s.coll.Maps["under_way"], "sessions": s.coll.Maps["sessions"],
		"packets": s.coll.Maps["packets"], "errors": s.coll.Maps["errors"],
	}
}

func (s *Sensor) leaveSockets() error {
	err := closeAll(s.links)
	s.links = nil
	return err
}

// Detach stops reading; what was read before can still be had.
func (s *Sensor) Detach() error {
	var links []link.Link
	for _, of := range s.files {
		links = append(links, of...)
	}
	return errors.Join(closeAll(links), s.leaveSockets(), s.forget())
}

// closeAll closes links at once: each waits for a grace period of some 50 ms,
// and together they wait for the same one.
func closeAll(links []link.Link) error {
	errs := make([]error, len(links))
	var wait sync.WaitGroup
	for i, l := range links {
		wait.Go(func() { errs[i] = l.Close() })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// Close detaches and frees everything.
func (s *Sensor) Close() error {
	err := errors.Join(s.Detach(), s.ring.Close())
	s.closeSockets()
	s.coll.Close()
	return err
}

// Cost returns what the sensor takes in the kernel.
func (s *Sensor) Cost() (hook.Cost, error) {
	return hook.Measure(s.coll.Maps, s.coll.Programs, s.sockets)
}
