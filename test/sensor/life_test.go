package sensor

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/sensor/conn"
	"github.com/netfate/netfate/internal/sensor/dns"
	"github.com/netfate/netfate/internal/sensor/drop"
	"github.com/netfate/netfate/internal/sensor/flow"
	"github.com/netfate/netfate/internal/sensor/http"
	"github.com/netfate/netfate/internal/sensor/owner"
	"github.com/netfate/netfate/internal/sensor/packet"
	"github.com/netfate/netfate/internal/sensor/tls"
	"github.com/netfate/netfate/internal/sensor/urls"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// lifetimes is how often each sensor is attached and taken off again. More are for guests:
// not every host's kernel bears them.
var lifetimes = flag.Int("lifetimes", 20, "how often TestNothingIsLeft attaches each sensor")

// TestEveryProgramLoads loads all there is in each object, with the stack and
// the owners that the other tests leave out.
func TestEveryProgramLoads(t *testing.T) {
	need.Root(t)
	owners, err := owner.New(owner.Config{CgroupRoot: kernel.ReadMounts().Cgroup2})
	check(t, err)
	t.Cleanup(func() { check(t, owners.Close()) })
	check(t, owners.Attach())
	if lacks := owners.Lacks(); len(lacks) > 0 {
		t.Errorf("owner: got %q, want nothing lacking", lacks)
	}
	for _, raw := range []bool{false, true} {
		for _, stack := range []bool{false, true} {
			s, err := drop.New(drop.Config{Args: freeArgs(t), Owners: owners.Owners(), Raw: raw, Stack: stack})
			if err != nil {
				t.Errorf("drop, raw %v, stack %v: %+v", raw, stack, err)
				continue
			}
			check(t, s.Attach())
			check(t, s.Close())
		}
		s, err := flow.New(flow.Config{Owners: owners.Owners(), Raw: raw})
		if err != nil {
			t.Errorf("flow, raw %v: %+v", raw, err)
			continue
		}
		check(t, s.Attach())
		check(t, s.Close())
		c, err := conn.New(conn.Config{Owners: owners.Owners(), Raw: raw})
		if err != nil {
			t.Errorf("conn, raw %v: %+v", raw, err)
			continue
		}
		check(t, c.Attach())
		check(t, c.Close())
		p, err := packet.New(packet.Config{Owners: owners.Owners(), Raw: raw, Filter: compile(t, "tcp port 80 or vlan")})
		if err != nil {
			t.Errorf("packet, raw %v: %+v", raw, err)
			continue
		}
		check(t, p.Attach())
		check(t, p.Close())
	}
	d, err := dns.New(dns.Config{CgroupRoot: kernel.ReadMounts().Cgroup2, Owners: owners.Owners()})
	check(t, err)
	check(t, d.Attach())
	check(t, d.Close())
	h, err := http.New(http.Config{CgroupRoot: kernel.ReadMounts().Cgroup2, Owners: owners.Owners()})
	check(t, err)
	check(t, h.Attach())
	check(t, h.Close())
	u, err := urls.New(urls.Config{CgroupRoot: kernel.ReadMounts().Cgroup2})
	check(t, err)
	check(t, u.Attach())
	check(t, u.Close())
	// An older kernel's tracepoint has no reason and no receiver.
	args := freeArgs(t)
	args.Reason, args.RxSK = -1, -1
	s, err := drop.New(drop.Config{Args: args})
	check(t, err)
	check(t, s.Attach())
	check(t, s.Close())
}

// life is what all sensors have.
type life interface {
	Attach() error
	Detach() error
	Close() error
}

// TestNothingIsLeft attaches and detaches: no file, link or program of this
// process outlives it.
func TestNothingIsLeft(t *testing.T) {
	need.Root(t)
	makers := map[string]func() (life, error){
		"drop": func() (life, error) { return drop.New(drop.Config{Args: freeArgs(t)}) },
		"flow": func() (life, error) { return flow.New(flow.Config{}) },
		"conn": func() (life, error) { return conn.New(conn.Config{}) },
		"dns":  func() (life, error) { return dns.New(dns.Config{CgroupRoot: kernel.ReadMounts().Cgroup2}) },
		"http": func() (life, error) { return http.New(http.Config{CgroupRoot: kernel.ReadMounts().Cgroup2}) },
		// One file: kernels before 6.6 take their time to let go of each place.
		"tls":    func() (life, error) { return tls.New(tls.Config{MaxFiles: 1}) },
		"urls":   func() (life, error) { return urls.New(urls.Config{CgroupRoot: kernel.ReadMounts().Cgroup2}) },
		"packet": func() (life, error) { return packet.New(packet.Config{}) },
		"raw":    func() (life, error) { return flow.New(flow.Config{Raw: true}) },
		"owner":  func() (life, error) { return owner.New(owner.Config{CgroupRoot: kernel.ReadMounts().Cgroup2}) },
	}
	for name, create := range makers {
		t.Run(name, func(t *testing.T) {
			if name == "tls" { // old kernels let go of each place in a library by itself
				need.Time(t)
			}
			testLives(t, create)
		})
	}
}

func testLives(t *testing.T, create func() (life, error)) {
	first, err := create() // the libraries keep files of their own from the first use on
	check(t, err)
	check(t, first.Close())
	before := files(t)
	s, err := create()
	check(t, err)
	loaded := len(files(t))
	links, programs := map[uint32]bool{}, map[uint32]bool{}
	for range *lifetimes {
		check(t, s.Attach())
		maps.Copy(links, idsOf(t, os.Getpid(), "link_id"))
		maps.Copy(programs, idsOf(t, os.Getpid(), "prog_id"))
		check(t, s.Detach())
		if got := len(files(t)); got != loaded {
			t.Fatalf("detached: got %d open files, want %d", got, loaded)
		}
	}
	check(t, s.Detach()) // a second time does nothing
	check(t, s.Close())
	if got := files(t); len(got) != len(before) {
		t.Errorf("closed: got files %v, want %v", got, before)
	}
	if len(links) < *lifetimes || len(programs) == 0 {
		t.Errorf("got %d links and %d programs in %d lives: the test sees nothing", len(links), len(programs), *lifetimes)
	}
	gone(t, "link", links, func(id uint32) error { l, err := link.NewFromID(link.ID(id)); return errors.Join(err, closed(err, l)) })
	gone(t, "program", programs, func(id uint32) error {
		p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		return errors.Join(err, closed(err, p))
	})
}

// closed closes what was opened without an error.
func closed(err error, c interface{ Close() error }) error {
	if err == nil {
		return c.Close()
	}
	return nil
}

// gone waits until none of the ids can be opened: the kernel frees in the
// background.
func gone(t *testing.T, what string, ids map[uint32]bool, open func(uint32) error) {
	t.Helper()
	for id := range ids {
		if !netlab.Poll(20*time.Second, func() bool { return errors.Is(open(id), os.ErrNotExist) }) {
			t.Errorf("%s %d is still there", what, id)
		}
	}
}

// files returns this process's open files by what they are.
func files(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	var all []string
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err != nil {
			continue // the directory itself
		}
		all = append(all, fmt.Sprintf("%s %s", e.Name(), target))
	}
	return all
}

// idsOf returns the numbers of a field in the descriptions of a process's open
// files.
func idsOf(t *testing.T, pid int, field string) map[uint32]bool {
	t.Helper()
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	check(t, err)
	found := map[uint32]bool{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if m := regexp.MustCompile(`(?m)^` + field + `:\s*(\d+)$`).FindSubmatch(text); m != nil {
			id, err := strconv.ParseUint(string(m[1]), 10, 32)
			check(t, err)
			found[uint32(id)] = true
		}
	}
	return found
}
