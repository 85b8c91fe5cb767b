package netlab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// runDir is where ip-netns(8) keeps names of namespaces.
const runDir = "/run/netns"

// TB is the part of testing.TB that a lab needs, so that a program may use one
// too (see [Run]). Fatalf must not return.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Cleanup(func())
}

// Lab owns a set of namespaces and everything in them. Its methods call
// Fatalf on any error; use a lab from one goroutine, or make sure that the TB
// can stand Fatalf from several.
type Lab struct {
	tb   TB
	seq  int
	home netns.NsHandle

	mu     sync.Mutex
	spaces []*NetNS
}

// New returns an empty lab, after sweeping away the namespaces of labs whose
// process is dead. The lab is taken down by tb's cleanup.
func New(tb TB) *Lab {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Fatalf("network namespaces need root: run as root")
	}
	sweep(tb)
	home, err := netns.Get()
	if err != nil {
		tb.Fatalf("open own network namespace: %v", err)
	}
	// The number of an open file is no other lab's of this process.
	l := &Lab{tb: tb, seq: int(home), home: home}
	tb.Cleanup(func() { l.home.Close() })
	return l
}

// TB returns what the lab reports to.
func (l *Lab) TB() TB { return l.tb }

// Inodes returns the inode numbers of the lab's namespaces, by short name.
func (l *Lab) Inodes() map[string]uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := make(map[string]uint32, len(l.spaces))
	for _, n := range l.spaces {
		m[n.Short] = n.Inode
	}
	return m
}

// NetNS is one named network namespace of a lab.
type NetNS struct {
	// Name is the name in /run/netns: nf-<pid>-<lab>-<short>.
	Name string
	// Short is the name that the lab's author gave it.
	Short string
	// Inode identifies the namespace, as netfate's netns field does.
	Inode uint32

	lab    *Lab
	tb     TB
	handle netns.NsHandle
	nl     *netlink.Handle
	ipv6   bool
}

// NetNS makes a namespace with lo up and IPv6 off: an idle IPv6 interface
// talks by itself, and a test that counts wants silence. See [NetNS.IPv6].
func (l *Lab) NetNS(short string) *NetNS {
	l.tb.Helper()
	n := &NetNS{Name: fmt.Sprintf("nf-%d-%d-%s", os.Getpid(), l.seq, short), Short: short, lab: l, tb: l.tb}
	err := onThread(l.home, func() error {
		// NewNamed leaves the thread in the new namespace; onThread takes it home.
		handle, err := netns.NewNamed(n.Name)
		if err != nil {
			return err
		}
		n.handle = handle
		return nil
	})
	if err != nil {
		os.Remove(filepath.Join(runDir, n.Name))
		l.tb.Fatalf("make namespace %s: %v", n.Name, err)
	}
	l.tb.Cleanup(n.close)
	var st unix.Stat_t
	if err := unix.Fstat(int(n.handle), &st); err != nil {
		l.tb.Fatalf("stat namespace %s: %v", n.Name, err)
	}
	n.Inode = uint32(st.Ino)
	nl, err := netlink.NewHandleAt(n.handle, unix.NETLINK_ROUTE)
	if err != nil {
		l.tb.Fatalf("open netlink in %s: %v", n.Name, err)
	}
	n.nl = nl
	n.Sysctl("net/ipv6/conf/all/disable_ipv6", "1")
	n.Sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	n.Up("lo")
	l.mu.Lock()
	l.spaces = append(l.spaces, n)
	l.mu.Unlock()
	return n
}

func (n *NetNS) close() {
	if n.nl != nil {
		n.nl.Close()
	}
	n.handle.Close()
	if err := netns.DeleteNamed(n.Name); err != nil {
		n.tb.Logf("delete namespace %s: %v", n.Name, err)
	}
}

// TB returns what the namespace reports to.
func (n *NetNS) TB() TB { return n.tb }

// Path returns a path that names the namespace.
func (n *NetNS) Path() string { return filepath.Join(runDir, n.Name) }

// Netlink returns a handle on the namespace, owned by the lab: for what this
// package has no method for.
func (n *NetNS) Netlink() *netlink.Handle { return n.nl }

// Try runs f on a thread inside the namespace and returns its error. Sockets
// that f opens stay in the namespace; goroutines that it starts do not. A
// panic of f continues in the caller. f must not call Fatalf.
func (n *NetNS) Try(f func() error) error {
	return onThread(n.lab.home, func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("enter namespace %s: %w", n.Name, err)
		}
		return f()
	})
}

// Do is Try for what must succeed.
func (n *NetNS) Do(f func() error) {
	n.tb.Helper()
	if err := n.Try(f); err != nil {
		n.tb.Fatalf("in %s: %v", n.Short, err)
	}
}

// onThread runs f on a locked thread of its own and takes the thread back to
// home. A thread that cannot go home stays locked and dies with its goroutine.
func onThread(home netns.NsHandle, f func() error) (err error) {
	var crash any
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer func() {
			crash = recover()
			if netns.Set(home) == nil {
				runtime.UnlockOSThread()
			}
		}()
		err = f()
	}()
	<-done
	if crash != nil {
		panic(crash)
	}
	return err
}

// sweep deletes namespaces whose maker is dead.
func sweep(tb TB) {
	names, err := filepath.Glob(filepath.Join(runDir, "nf-*"))
	if err != nil {
		return
	}
	for _, path := range names {
		name := filepath.Base(path)
		pid, err := strconv.Atoi(strings.SplitN(name, "-", 3)[1])
		if err != nil || pid <= 0 || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		// Two sweeps may meet: the loser's error means nothing.
		if netns.DeleteNamed(name) == nil {
			tb.Logf("swept away %s, left by a dead process", name)
		}
	}
}

// WaitFor asks cond every few milliseconds until it says yes, and fails after
// a generous time: what names the thing waited for.
func WaitFor(tb TB, what string, cond func() bool) {
	tb.Helper()
	if !Poll(30*time.Second, cond) {
		tb.Fatalf("waited 30 s in vain for %s", what)
	}
}

// Poll asks cond every few milliseconds until it says yes or the time is up,
// and reports the last answer.
func Poll(atMost time.Duration, cond func() bool) bool {
	deadline := time.Now().Add(atMost)
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		if cond() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pause)
	}
}
