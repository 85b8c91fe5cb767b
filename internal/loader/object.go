package loader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/eventtype"
	"github.com/netfate/netfate/internal/runstate"
	"github.com/netfate/netfate/internal/section"
	"github.com/netfate/netfate/internal/usdt"
)

// Mode is how an XDP program is attached.
type Mode string

// The modes. Auto tries the driver first and says when it falls back.
const (
	Auto    Mode = "auto"
	Native  Mode = "native"
	Generic Mode = "generic"
)

// Config says what to run, and how. Only Object is needed.
type Config struct {
	Object   string   // path of the ELF file
	Name     string   // what to call it; empty for the file's name without .bpf.o
	Programs []string // only these; empty for all that are not optional

	Devices []string          // interfaces, for tc, XDP and socket filters
	Set     []string          // globals, as name=value
	Targets map[string]string // by program: where it attaches, in place of what its section says
	Events  map[string]string // by map: the struct that it carries
	Mode    Mode              // of XDP; empty is Auto
	Cgroup  string            // directory for cgroup programs; empty for the root of the hierarchy

	Replace     bool // take the place of another XDP program
	AllowActive bool // attach programs that can drop or change something

	Pin    bool          // pin maps, programs and links
	PinDir string        // where; empty for netfate/NAME on the BPF file system
	Detach bool          // leave it pinned and running
	For    time.Duration // take it off after this long; 0 for never

	StateDir string // empty for runstate.DefaultDir
	BPFFS    string // empty for /sys/fs/bpf
}

// DefaultBPFFS is where systemd mounts the BPF file system.
const DefaultBPFFS = "/sys/fs/bpf"

// maxObject bounds the file that is read: the largest public objects have some
// 10 MB with debug information.
const maxObject = 256 << 20

// Program is one program of an object.
type Program struct {
	Name    string
	Section section.Section
	Spec    *ebpf.ProgramSpec
}

// Object is an opened object: nothing of it is in the kernel yet. It belongs to
// one goroutine.
type Object struct {
	cfg      Config
	spec     *ebpf.CollectionSpec
	programs []Program
	byName   map[string]string          // maps that ask to be pinned by name
	events   map[string]eventtype.Event // by map
	notes    []string
}

// UsageError is a request that cannot be meant: a name that the object does not
// have, a value that does not fit.
type UsageError struct{ Err error }

// Error implements error.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns what was wrong.
func (e *UsageError) Unwrap() error { return e.Err }

func usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// Open reads the object and fits it to cfg: programs chosen, globals set, what
// the kernel would refuse about its maps mended.
func Open(cfg Config) (*Object, error) {
	if err := complete(&cfg); err != nil {
		return nil, err
	}
	f, err := os.Open(cfg.Object)
	if err != nil {
		return nil, fmt.Errorf("open object: %w", err)
	}
	defer f.Close()
	o := &Object{cfg: cfg, byName: map[string]string{}}
	if o.spec, err = readObject(f, cfg.Object); err != nil {
		return nil, err
	}
	if err := o.choose(); err != nil {
		return nil, err
	}
	if err := setGlobals(o.spec, cfg.Set); err != nil {
		return nil, err
	}
	if o.events, err = eventtype.Find(f, o.spec, cfg.Events); err != nil {
		return nil, &UsageError{err}
	}
	if err := o.mendMaps(); err != nil {
		return nil, err
	}
	return o, o.fitUSDT()
}

func complete(cfg *Config) error {
	if cfg.Name == "" {
		cfg.Name = nameOf(cfg.Object)
	}
	if !runstate.ValidName(cfg.Name) {
		return usagef("%q cannot name what runs: no spaces, no slashes, no dot in front; choose one with --name", cfg.Name)
	}
	abs, err := filepath.Abs(cfg.Object)
	if err != nil {
		return fmt.Errorf("open object: %w", err)
	}
	cfg.Object = abs
	if cfg.StateDir == "" {
		cfg.StateDir = runstate.DefaultDir
	}
	if cfg.BPFFS == "" {
		cfg.BPFFS = DefaultBPFFS
	}
	if cfg.Mode == "" {
		cfg.Mode = Auto
	}
	if !slices.Contains([]Mode{Auto, Native, Generic}, cfg.Mode) {
		return usagef("--mode is native, generic or auto, not %q", cfg.Mode)
	}
	cfg.Pin = cfg.Pin || cfg.Detach || cfg.PinDir != ""
	if cfg.PinDir == "" {
		cfg.PinDir = filepath.Join(cfg.BPFFS, "netfate", cfg.Name)
	}
	return nil
}

// nameOf is the file's name without the endings that objects have.
func nameOf(path string) string {
	name := filepath.Base(path)
	for _, suffix := range []string{".o", ".bpf", "_bpfel", "_bpfeb"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

func readObject(f *os.File, path string) (*ebpf.CollectionSpec, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open object: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open object: %s is no regular file", path)
	}
	if info.Size() > maxObject {
		return nil, fmt.Errorf("open object: %s has %d bytes, more than the %d that are read", path, info.Size(), maxObject)
	}
	object, err := io.ReadAll(io.LimitReader(f, maxObject))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	spec, err := parseObject(object)
	if err != nil {
		return nil, fmt.Errorf("read %s: not a BPF object that can be run: %w", path, err)
	}
	if there, here := order(spec.ByteOrder), order(binary.NativeEndian); there != here {
		return nil, fmt.Errorf("read %s: it was compiled for %s-endian machines, and this one is %s-endian; compile it with clang -target bpf here",
			path, there, here)
	}
	return spec, nil
}

// order names a byte order.
func order(o binary.ByteOrder) string {
	if o.Uint16([]byte{1, 0}) == 1 {
		return "little"
	}
	return "big"
}

// parseObject turns the panics that broken ELF files have brought out of the
// parsers of ELF, DWARF and BTF into errors.
func parseObject(object []byte) (spec *ebpf.CollectionSpec, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("parse: %v", p)
		}
	}()
	if object, err = usdt.Patch(object); err != nil {
		return nil, err
	}
	return ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
}

// choose keeps the programs that were asked for, and what their sections say.
func (o *Object) choose() error {
	if len(o.spec.Programs) == 0 {
		return fmt.Errorf("read %s: it has no programs; was it compiled with clang -target bpf, and are the functions in SEC(…)?", o.cfg.Object)
	}
	for _, name := range o.cfg.Programs {
		if o.spec.Programs[name] == nil {
			return usagef("there is no program %s; the object has %s", name, names(o.spec.Programs))
		}
	}
	for name := range o.cfg.Targets {
		if o.spec.Programs[name] == nil {
			return usagef("--target %s: there is no such program; the object has %s", name, names(o.spec.Programs))
		}
	}
	var errs []error
	for _, name := range sorted(o.spec.Programs) {
		p := o.spec.Programs[name]
		if len(o.cfg.Programs) > 0 && !slices.Contains(o.cfg.Programs, name) {
			delete(o.spec.Programs, name)
			continue
		}
		s, err := section.Parse(p.SectionName)
		if err != nil {
			errs = append(errs, fmt.Errorf("program %s: %w", name, err))
			continue
		}
		if s.Optional && len(o.cfg.Programs) == 0 {
			o.note("program %s is optional (its section begins with ?): name it to run it", name)
			delete(o.spec.Programs, name)
			continue
		}
		o.programs = append(o.programs, o.fit(name, p, s))
	}
	return errors.Join(errs...)
}

// fit tells the kernel's names for what the section says: the library knows
// fewer spellings.
func (o *Object) fit(name string, p *ebpf.ProgramSpec, s section.Section) Program {
	if target, ok := o.cfg.Targets[name]; ok {
		s.Target = target
	}
	p.Type, p.AttachType = s.Program, s.Attach
	if s.Sleepable {
		p.Flags |= unix.BPF_F_SLEEPABLE
	}
	switch s.Kind {
	case section.TracingRawTracepoint, section.Fentry, section.Fexit, section.FmodRet, section.LSM, section.Iter, section.Freplace:
		p.AttachTo, _, _ = strings.Cut(s.Target, ":") // an iterator's target may name a map behind it
	}
	return Program{Name: name, Section: s, Spec: p}
}

// Programs returns the programs that will be run, by name.
func (o *Object) Programs() []Program { return o.programs }

// Notes returns what was mended or left out, a sentence each.
func (o *Object) Notes() []string { return o.notes }

func (o *Object) note(format string, args ...any) {
	o.notes = append(o.notes, fmt.Sprintf(format, args...))
}

func sorted[V any](m map[string]V) []string {
	list := make([]string, 0, len(m))
	for name := range m {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// maxNames bounds the names that an error lists.
const maxNames = 20

func names[V any](m map[string]V) string {
	list := sorted(m)
	more := ""
	if len(list) > maxNames {
		list, more = list[:maxNames], fmt.Sprintf(" and %d more", len(list)-maxNames)
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ") + more
}

// Name is what the object is called while it runs.
func (o *Object) Name() string { return o.cfg.Name }
