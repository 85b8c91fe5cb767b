package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/runstate"
)

// begin writes down that this object is about to run. What a crash of an earlier
// run has left under the same name is cleaned up first.
func (r *Running) begin() error {
	cfg := &r.object.cfg
	old, err := runstate.Read(cfg.StateDir, cfg.Name)
	switch {
	case errors.Is(err, runstate.ErrNotFound):
	case err != nil:
		return err
	case alive(old):
		return usagef("%s runs already, by process %d; stop it with netfate stop %[1]s, or choose another --name", cfg.Name, old.PID)
	case old.PID == 0:
		return usagef("%s runs already, pinned at %s; stop it with netfate stop %[1]s, or choose another --name", cfg.Name, old.Pins)
	default:
		if err := lockedCleanUp(cfg.StateDir, old); err != nil {
			return fmt.Errorf("clean up what a crash of %s has left: %w", cfg.Name, err)
		}
		r.object.note("an earlier run of %s had crashed; what it left is cleaned up", cfg.Name)
	}
	start, err := startOf(os.Getpid())
	if err != nil {
		return err
	}
	r.state = runstate.State{Name: cfg.Name, Object: cfg.Object, PID: os.Getpid(), PIDStart: start, Since: time.Now().UTC()}
	if cfg.For > 0 {
		r.state.Until = r.state.Since.Add(cfg.For)
	}
	if cfg.Pin || len(r.object.byName) > 0 {
		r.state.Pins = cfg.PinDir
	}
	r.pins = &pins{dir: cfg.PinDir, owner: cfg.Name, note: func(path string) error {
		r.state.Made = append(r.state.Made, path)
		return r.save()
	}}
	return r.save()
}

// save writes the state down. What other runs have left to this one meanwhile, by
// writing it there, is kept.
func (r *Running) save() (err error) {
	unlock, err := runstate.Lock(r.object.cfg.StateDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := r.inherit(); err != nil {
		return err
	}
	return runstate.Write(r.object.cfg.StateDir, &r.state)
}

// NothingError is an object of which nothing could be attached. Its text leaves
// out why: that is in each program's Status, and in what it wraps.
type NothingError struct {
	Name string
	Err  error
}

// Error says that, and no more.
func (e *NothingError) Error() string {
	return "run " + e.Name + ": none of its programs could be attached; everything is taken off again"
}

// Unwrap returns why not, for each program.
func (e *NothingError) Unwrap() error { return e.Err }

// Attach attaches every loaded program where its section or --target says. A
// program that cannot be attached has its Status say why. The error is about what
// leaves nothing attached, or cannot be undone by leaving one out.
func (r *Running) Attach() error {
	if err := r.pinMaps(); err != nil {
		return err
	}
	if err := r.describe(); err != nil {
		return err
	}
	for i := range r.status {
		s := &r.status[i]
		if s.Err != nil {
			continue
		}
		if why := active(&s.Program); why != "" && !r.object.cfg.AllowActive {
			s.Err = usagef("not attached, for %s; --allow-active attaches it all the same, --for 30s takes it off by itself", why)
			continue
		}
		if err := r.attach(s); err != nil {
			s.Err = err
		}
	}
	if !slices.ContainsFunc(r.status, func(s Status) bool { return len(s.Where) > 0 }) {
		return &NothingError{Name: r.object.cfg.Name, Err: r.refusals()}
	}
	if err := r.pinRest(); err != nil {
		return err
	}
	return r.describe()
}

// describe writes down the maps and programs as they are now.
func (r *Running) describe() error {
	r.state.Programs, r.state.Maps = nil, nil
	for i := range r.status {
		s := &r.status[i]
		p := runstate.Program{Name: s.Name, Section: s.Spec.SectionName, ID: s.ID, Where: strings.Join(s.Where, ", ")}
		if s.Err != nil {
			p.Why = s.Err.Error()
		}
		r.state.Programs = append(r.state.Programs, p)
	}
	for _, name := range sorted(r.maps) {
		info, err := r.maps[name].Info()
		if err != nil {
			return fmt.Errorf("ask for the id of map %s: %w", name, err)
		}
		m := runstate.Map{Name: name, Pin: r.pinned[name]}
		if id, ok := info.ID(); ok {
			m.ID = uint32(id)
		}
		r.state.Maps = append(r.state.Maps, m)
	}
	return r.save()
}

// pinName is the name to pin a map under; empty if it is not to be pinned. Data
// sections have names that begin with a dot, which a BPF file system refuses.
func (r *Running) pinName(name string) string {
	if file, ok := r.object.byName[name]; ok {
		return file
	}
	if r.object.cfg.Pin {
		return strings.ReplaceAll(name, ".", "_")
	}
	return ""
}

// pinMaps pins the maps before anything is attached, so that a reader finds them
// from the first event on.
func (r *Running) pinMaps() (err error) {
	for _, name := range sorted(r.maps) {
		file := r.pinName(name)
		if file == "" || r.pinned[name] != "" {
			continue
		}
		if r.pinned[name], err = r.pins.add(r.maps[name], "maps", file); err != nil {
			return err
		}
	}
	return nil
}

// pinRest pins programs and links, if that was asked for.
func (r *Running) pinRest() error {
	if !r.object.cfg.Pin {
		return nil
	}
	for _, name := range sorted(r.progs) {
		if _, err := r.pins.add(r.progs[name], "progs", name); err != nil {
			return err
		}
	}
	used := map[string]int{}
	for i := range r.held {
		a := &r.held[i]
		switch {
		case a.link == nil || !a.stays:
			continue
		case used[a.program] > 0:
			used[a.program]++
			if _, err := r.pins.add(a.link, "links", fmt.Sprintf("%s_%d", a.program, used[a.program])); err != nil {
				return err
			}
		default:
			used[a.program]++
			if _, err := r.pins.add(a.link, "links", a.program); err != nil {
				return err
			}
		}
	}
	return nil
}

// Detach leaves everything pinned and running, and frees what this process has
// of it. It refuses if something would end with the process.
func (r *Running) Detach() error {
	for i := range r.held {
		if a := &r.held[i]; !a.stays && a.filter == nil {
			return usagef("--detach: %s ends with the process that holds it (%s), so it cannot be left behind",
				a.program, r.where(a.program))
		}
	}
	r.state.PID, r.state.PIDStart = 0, 0
	if err := r.save(); err != nil {
		return err
	}
	return r.free(false)
}

// inherit takes over what other runs have left to this one by writing it into
// its state: pins of maps that both used, qdiscs that both had filters on. The
// states must be locked.
func (r *Running) inherit() error {
	s, err := runstate.Read(r.object.cfg.StateDir, r.state.Name)
	if errors.Is(err, runstate.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var left []string
	for _, path := range s.Made {
		if !slices.Contains(r.state.Made, path) {
			left = append(left, path)
		}
	}
	r.state.Made = append(left, r.state.Made...)
	for i := range min(len(s.Filters), len(r.state.Filters)) {
		r.state.Filters[i].Qdisc = r.state.Filters[i].Qdisc || s.Filters[i].Qdisc
	}
	return nil
}

func (r *Running) where(program string) string {
	for i := range r.status {
		if r.status[i].Name == program {
			return strings.Join(r.status[i].Where, ", ")
		}
	}
	return ""
}

// Close takes everything off and frees it. What others have put beside our pins
// stays.
func (r *Running) Close() error {
	err := r.free(true)
	unlock, lockErr := runstate.Lock(r.object.cfg.StateDir)
	if lockErr != nil {
		return errors.Join(err, lockErr)
	}
	return errors.Join(err, r.inherit(), cleanUp(r.object.cfg.StateDir, &r.state), unlock())
}

// free closes what this process holds; off takes off what closing alone would
// leave.
func (r *Running) free(off bool) error {
	var errs []error
	for i := len(r.held) - 1; i >= 0; i-- {
		a := &r.held[i]
		if a.link != nil {
			errs = append(errs, a.link.Close())
		}
		if a.release != nil && off {
			errs = append(errs, a.release())
		}
	}
	r.held = nil
	for _, name := range sorted(r.progs) {
		errs = append(errs, r.progs[name].Close())
	}
	for _, name := range sorted(r.maps) {
		errs = append(errs, r.maps[name].Close())
	}
	r.progs, r.maps = nil, nil
	return errors.Join(errs...)
}
