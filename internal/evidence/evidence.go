// Package evidence reads the live values of this host that explain a drop:
// settings, buffers, queues, rules, counters. It reads through /proc, netlink
// and ioctl, in the network namespace of the drop, starts no process and
// changes nothing.
//
// Which facts matter for which drop reason is not decided here: the caller
// asks by key (see [Known]). The package knows no verdict and no output, and
// imports no other of ours; views and commands import it.
package evidence

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/kernel"
)

// The bounds of one Collect. What they cut off is said in a fact.
const (
	maxKeys     = 64 // keys answered
	maxPerKey   = 24 // facts of one key
	maxFileSize = 1 << 20
	askTimeout  = 2 * time.Second // for one answer of the kernel
)

// Subject is the drop that the facts shall explain. Everything in it may be
// left empty; facts that need what is missing say so.
type Subject struct {
	// NetNSPath is the network namespace to look in, such as /run/netns/NAME.
	// Without it that of PID is taken, and without that the caller's own.
	NetNSPath string
	// IfName is the interface, as it is named in that namespace.
	IfName string
	// Proto is the transport protocol in lower case: tcp, udp …
	Proto string
	// Src and Dst are the addresses of the packet. The port may be zero.
	Src, Dst netip.AddrPort
	// PID is the process that owns the socket, in the caller's PID namespace.
	PID uint32
}

// Fact is one live value.
type Fact struct {
	Key   string // what was asked for
	Name  string // what this is, as a user would call it
	Value string // what was read, or why it could not be
	Note  string // what the value means here; may be empty
	// Unread says that there is no value: the subject lacks what it takes to find
	// it, or the kernel did not answer.
	Unread bool
}

// reader answers one key. It runs on a thread that is in the right namespace.
type reader func(c *collector) ([]Fact, error)

// readers lists the keys that are answered by a function.
func readers() map[string]reader {
	return map[string]reader{
		"socket": socketFacts, "listen": listenFacts, "sockstat": sockstatFacts,
		"nft": nftFacts, "conntrack": conntrackFacts, "xfrm": xfrmFacts, "lsm": lsmFacts,
		"qdisc": qdiscFacts, "link": linkFacts, "mtu": mtuFacts, "ring": ringFacts, "programs": programFacts,
		"route": routeFacts, "neigh": neighFacts, "softnet": softnetFacts, "memory": memoryFacts,
	}
}

// Known reports whether Collect can answer a key: one of socket, listen,
// sockstat, nft, conntrack, xfrm, lsm, qdisc, link, mtu, ring, programs,
// route, neigh, softnet, memory; or sysctl:NAME, in which {if} stands for the
// interface; or counter:NAME, named as nstat(8) does.
func Known(key string) bool {
	if _, ok := readers()[key]; ok {
		return true
	}
	for _, kind := range []string{"sysctl:", "counter:"} {
		if name, ok := strings.CutPrefix(key, kind); ok {
			return validName(name)
		}
	}
	return false
}

// validName keeps a name from leading out of the directory it belongs to.
func validName(name string) bool {
	return name != "" && !strings.ContainsAny(name, "/\x00") && !strings.Contains(name, "..")
}

// Collect reads the facts of the given keys, in their order. It never fails as
// a whole: a fact that cannot be read, because of privileges, a missing kernel
// feature or a missing part of s, says why in its Value. It returns once all
// have been tried or ctx is over.
func Collect(ctx context.Context, keys []string, s Subject) []Fact {
	cut := len(keys) > maxKeys
	if cut {
		keys = keys[:maxKeys]
	}
	c := &collector{ctx: ctx, Subject: s}
	var facts []Fact
	kernel.OnOwnThread(func() { facts = c.run(keys) }) // it goes to the subject's namespace
	if cut {
		facts = append(facts, Fact{Name: "more facts", Value: fmt.Sprintf("not read: only %d keys are answered at once", maxKeys)})
	}
	return facts
}

// collector is the state of one Collect, owned by its goroutine.
type collector struct {
	Subject
	ctx      context.Context
	counters map[string]string // by name, once read
}

func (c *collector) run(keys []string) []Fact {
	err := c.enter()
	var facts []Fact
	all := readers()
	seen := map[string]bool{}
	for _, key := range keys {
		if seen[key] {
			continue
		}
		seen[key] = true
		if err == nil {
			err = c.ctx.Err()
		}
		if err != nil {
			facts = append(facts, missing(key, label(key), err))
			continue
		}
		facts = append(facts, c.answer(all, key)...)
	}
	return facts
}

func (c *collector) answer(all map[string]reader, key string) []Fact {
	var found []Fact
	var err error
	switch {
	case all[key] != nil:
		found, err = all[key](c)
	case strings.HasPrefix(key, "sysctl:"):
		found = c.sysctl(strings.TrimPrefix(key, "sysctl:"))
	case strings.HasPrefix(key, "counter:"):
		found, err = c.counter(strings.TrimPrefix(key, "counter:"))
	default:
		err = errors.New("netfate does not know this fact")
	}
	if err != nil {
		found = append(found, missing(key, label(key), err))
	}
	if len(found) > maxPerKey {
		rest := len(found) - maxPerKey
		found = append(found[:maxPerKey], Fact{Name: label(key), Value: fmt.Sprintf("%d more, not shown", rest)})
	}
	for i := range found {
		found[i].Key = key
	}
	return found
}

// enter moves the thread into the subject's network namespace.
func (c *collector) enter() error {
	path := c.NetNSPath
	if path == "" && c.PID != 0 {
		path = fmt.Sprintf("/proc/%d/ns/net", c.PID)
	}
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return nil
}

// missing is the fact for something that could not be read.
func missing(key, name string, err error) Fact {
	why := err.Error()
	switch {
	case errors.Is(err, errNoInterface), errors.Is(err, errNoAddress):
	case errors.Is(err, os.ErrPermission), errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		if os.Geteuid() == 0 {
			why = "not permitted, even to root here (" + why + ")"
		} else {
			why = "needs root (" + why + ")"
		}
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		why = "this kernel or namespace does not have it"
	}
	return Fact{Key: key, Name: name, Value: "not read: " + why, Unread: true}
}

var (
	errNoInterface = errors.New("the interface is not known; give it with -i")
	errNoAddress   = errors.New("the addresses of the packet are not known")
)

// label turns a key into the name of its facts.
func label(key string) string {
	for _, kind := range []string{"sysctl:", "counter:"} {
		if name, ok := strings.CutPrefix(key, kind); ok {
			return name
		}
	}
	names := map[string]string{
		"socket": "receiving socket", "listen": "listening socket", "sockstat": "socket memory", "nft": "firewall rules",
		"conntrack": "connection tracking", "xfrm": "IPsec errors", "lsm": "security modules", "qdisc": "send queue",
		"link": "interface", "mtu": "MTU", "ring": "NIC ring", "programs": "eBPF and tc programs", "route": "route",
		"neigh": "neighbour", "softnet": "per-CPU input queue", "memory": "memory",
	}
	if name := names[key]; name != "" {
		return name
	}
	return key
}

// readFile reads a small file of /proc or /sys, at most maxFileSize bytes.
func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var b strings.Builder
	buf := make([]byte, 32<<10)
	for b.Len() < maxFileSize {
		n, err := f.Read(buf)
		b.Write(buf[:n])
		if err != nil || n == 0 {
			break
		}
	}
	return b.String(), nil
}

// netFile is a file of /proc/net as this thread's namespace shows it; /proc/net
// itself would be that of the process's first thread.
func netFile(name string) (string, error) { return readFile("/proc/thread-self/net/" + name) }
