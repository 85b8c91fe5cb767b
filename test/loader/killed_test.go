package loader

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/runstate"
	"github.com/netfate/netfate/test/need"
)

// call is a system call as it is entered, of struct ptrace_syscall_info.
type call struct {
	op   uint8
	_    [3]uint8
	arch uint32
	ip   uint64
	sp   uint64
	nr   uint64
	args [6]uint64
}

// name tells the calls that change something outside of the process.
func (c *call) name() string {
	switch c.nr {
	case unix.SYS_BPF:
		return map[uint64]string{
			unix.BPF_OBJ_PIN: "pin", unix.BPF_LINK_CREATE: "link", unix.BPF_RAW_TRACEPOINT_OPEN: "raw tracepoint",
		}[c.args[0]]
	case unix.SYS_RENAMEAT:
		return "rename"
	case unix.SYS_MKDIRAT:
		return "mkdir"
	case unix.SYS_UNLINKAT:
		return "unlink"
	}
	return ""
}

// callAt reads the call that a stopped thread enters; false if it leaves one.
func callAt(tid int) (c call, ok bool) {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(c), uintptr(unsafe.Pointer(&c)), 0, 0)
	return c, errno == 0 && c.op == unix.PTRACE_SYSCALL_INFO_ENTRY
}

// killAt runs netfate at the server and kills it, all of a sudden, as it enters
// the nth call of that name. It reports false if netfate ended before.
func (w *world) killAt(name string, nth int, args ...string) bool {
	w.t.Helper()
	hit, _ := w.signalAt(unix.SIGKILL, name, nth, args...)
	return hit
}

// signalAt is killAt with any signal; status is how netfate ended then.
func (w *world) signalAt(signal unix.Signal, name string, nth int, args ...string) (hit bool, status unix.WaitStatus) {
	w.t.Helper()
	w.server.Do(func() (err error) { // on a locked thread, as ptrace wants it
		cmd := w.command(args...)
		cmd.SysProcAttr = &unix.SysProcAttr{Ptrace: true, Setpgid: true}
		if err := cmd.Start(); err != nil {
			return err
		}
		hit, status, err = trace(cmd.Process.Pid, signal, name, nth)
		return err
	})
	return hit, status
}

// trace lets a process run from its first stop to its end, and signals it at its
// nth call of that name.
func trace(pid int, send unix.Signal, name string, nth int) (hit bool, status unix.WaitStatus, err error) {
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil {
		return false, status, fmt.Errorf("wait for the first stop: %w", err)
	}
	if err := unix.PtraceSetOptions(pid, options); err != nil {
		return false, status, fmt.Errorf("set options: %w", err)
	}
	tid, signal := pid, 0
	for {
		if err := unix.PtraceSyscall(tid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return false, status, fmt.Errorf("go on: %w", err)
		}
		if tid, err = unix.Wait4(-pid, &status, unix.WALL, nil); err != nil { // any thread of its process group
			return hit, status, fmt.Errorf("wait for a stop: %w", err)
		}
		signal = 0
		switch {
		case tid == pid && (status.Exited() || status.Signaled()):
			return hit, status, nil
		case status.StopSignal() == unix.SIGTRAP|0x80:
			c, entry := callAt(tid)
			if entry && !hit && c.name() == name {
				if nth--; nth == 0 {
					hit = true
					if err := unix.Kill(pid, send); err != nil {
						return false, status, fmt.Errorf("signal: %w", err)
					}
				}
			}
		case status.Stopped() && status.TrapCause() < 0 && status.StopSignal() != unix.SIGSTOP && status.StopSignal() != unix.SIGTRAP:
			signal = int(status.StopSignal())
		}
	}
}

// othersAt puts a clsact qdisc with a filter, an XDP program and a pin of somebody
// else's on the server, and returns what then is there.
func (w *world) othersAt() []string {
	w.t.Helper()
	eth0 := w.server.Link("eth0")
	w.check(w.server.Netlink().QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: eth0.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}))
	w.addFilter("eth0", others(w.t, ebpf.SchedCLS, 0), 7, 1)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "others", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	w.check(err)
	w.t.Cleanup(func() { m.Close() })
	w.check(m.Pin(w.root + "/sys/fs/bpf/others"))
	w.server.Add(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "other0"}, PeerName: "other1"})
	const pass = 2 // XDP_PASS
	xdp := others(w.t, ebpf.XDP, pass)
	w.server.Do(func() error { return netlink.LinkSetXdpFd(w.server.Link("other0"), xdp.FD()) })
	return w.around()
}

// around lists what is on the server's interfaces, pinned and noted.
func (w *world) around() []string {
	w.t.Helper()
	found := append(w.left(), w.filters(netlink.HANDLE_MIN_INGRESS)...)
	if xdp := w.server.Link("other0").Attrs().Xdp; xdp != nil && xdp.Attached {
		found = append(found, fmt.Sprintf("other0: XDP program %d", xdp.ProgId))
	}
	slices.Sort(found)
	return found
}

func (w *world) addFilter(dev string, p *ebpf.Program, priority uint16, handle uint32) {
	w.t.Helper()
	w.check(w.server.Netlink().FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: w.server.Index(dev), Parent: netlink.HANDLE_MIN_INGRESS, Priority: priority, Handle: handle, Protocol: 3 << 8, // ETH_P_ALL
		},
		Fd: p.FD(), Name: "filter", DirectAction: true,
	}))
}

// wantOnly fails unless only what was there before is left.
func (w *world) wantOnly(before []string) {
	w.t.Helper()
	w.wantGone(before...)
	if diff := cmp.Diff(before, w.around()); diff != "" {
		w.t.Errorf("what is others' (-before +after):\n%s", diff)
	}
}

// TestKilled kills a run before each kind of step that outlives it, and then stops
// what it has left.
func TestKilled(t *testing.T) {
	need.Time(t)
	w := newWorld(t)
	before := w.othersAt()
	object := compile(t, source(t, "killed", ours))
	args := []string{"run", object, "faults_xdp", "faults_raw", "--dev", "eth0", "--pin"}
	for _, moment := range []struct {
		call string
		nth  int
	}{
		{"rename", 1}, {"rename", 2}, {"mkdir", 2}, {"mkdir", 3}, {"pin", 1}, {"link", 1}, {"raw tracepoint", 1}, {"pin", 2}, {"pin", 4}, {"pin", 5},
	} {
		t.Run(fmt.Sprint(moment.call, moment.nth), func(t *testing.T) {
			w := *w
			w.t = t
			if !w.killAt(moment.call, moment.nth, args...) {
				t.Fatal("it ended before that")
			}
			_, err := runstate.Read(w.root+runstate.DefaultDir, "killed")
			stdout, stderr, stopErr := w.try("stop", "killed")
			if (err == nil) != (stopErr == nil) {
				t.Errorf("state: %v; stop: got %v\n%s", err, stopErr, stdout+stderr)
			}
			w.wantOnly(before)
		})
	}
}

// TestInterruptedEarly ends a run, as init systems do, while it starts.
func TestInterruptedEarly(t *testing.T) {
	need.Time(t)
	w := newWorld(t)
	before := w.othersAt()
	object := compile(t, source(t, "early", ours))
	for _, call := range []string{"rename", "pin", "link"} {
		hit, status := w.signalAt(unix.SIGTERM, call, 1, "run", object, "faults_xdp", "--dev", "eth0", "--pin")
		if !hit || !status.Exited() || status.ExitStatus() != 0 {
			t.Errorf("SIGTERM at %s: got %v, status %#x; want a clean end", call, hit, uint32(status))
		}
		w.wantOnly(before)
	}
}

// TestStopKilled kills stop itself, each time later in its work, until one ends.
func TestStopKilled(t *testing.T) {
	need.Time(t)
	w := newWorld(t)
	before := w.othersAt()
	object := compile(t, source(t, "killed", ours))
	w.netfate("run", object, "--dev", "eth0", "--detach")
	const step = 3 // a directory takes two calls
	nth := 1
	for w.killAt("unlink", nth, "stop", "killed") {
		nth += step
	}
	if nth <= step {
		t.Errorf("got stop at its end after %d calls, want more to remove", nth)
	}
	if _, err := runstate.Read(w.root+runstate.DefaultDir, "killed"); err == nil {
		w.netfate("stop", "killed")
	}
	w.wantOnly(before)
}

// TestFilterLeft has what a crash leaves on a kernel before TCX: a state that
// names a filter, and the filter, or not yet.
func TestFilterLeft(t *testing.T) {
	const priority, handle = 0xc0de, 0x6e66
	for name, made := range map[string]bool{"made": true, "only written down": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.othersAt()
			program := others(t, ebpf.SchedCLS, 0)
			info, err := program.Info()
			w.check(err)
			id, _ := info.ID()
			w.addFilter("eth0", others(t, ebpf.SchedCLS, 0), priority, handle+1)
			before := w.around()
			if made {
				w.addFilter("eth0", program, priority, handle)
			}
			state := &runstate.State{Name: "old", PID: 1 << 30, Since: time.Now(), Filters: []runstate.Filter{{
				NetNS: inode(t, w.server.Path()), IfName: "eth0", IfIndex: w.server.Index("eth0"), Direction: "ingress",
				Handle: handle, Priority: priority, ProgramID: uint32(id), Qdisc: true,
			}}}
			w.check(runstate.Write(w.root+runstate.DefaultDir, state))
			w.netfate("stop", "old")
			w.wantOnly(before)
		})
	}
}

func inode(t *testing.T, path string) uint32 {
	t.Helper()
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		t.Fatal(err)
	}
	return uint32(s.Ino)
}
