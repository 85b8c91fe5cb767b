package scenario

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/test/netlab"
)

// helperEnv tells a re-executed program that it is a helper.
const helperEnv = "NETFATE_SCENARIO_HELPER"

// Helper makes the running program a helper process of a recipe if it was
// started as one, and then does not return. Every main and TestMain that uses
// this package calls it first.
func Helper() {
	if os.Getenv(helperEnv) == "" {
		return
	}
	if err := help(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func help(args []string) error {
	switch args[0] {
	case "udp-send": // address, count
		count, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		conn, err := net.ListenPacket("udp4", "0.0.0.0:0")
		if err != nil {
			return err
		}
		to, err := net.ResolveUDPAddr("udp4", args[1])
		if err != nil {
			return err
		}
		for range count {
			// EPERM says that the datagram was dropped, which is the point.
			_, _ = conn.WriteTo(make([]byte, 100), to)
		}
		return nil
	}
	return fmt.Errorf("no helper %q", args[0])
}

// HelperCommand returns a command that runs this program as a helper.
func HelperCommand(args ...string) *exec.Cmd {
	self, err := os.Executable() // not /proc/self/exe, or its comm would be "exe"
	if err != nil {
		self = os.Args[0]
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	cmd.Stderr = os.Stderr
	return cmd
}

// Cgroup is a cgroup (version 2) of a recipe's own.
type Cgroup struct {
	tb   netlab.TB
	dir  string
	file *os.File
}

// NewCgroup makes a cgroup below the root; it goes with the lab.
func NewCgroup(tb netlab.TB) *Cgroup {
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/cgroup.controllers"); err != nil {
		root += "/unified" // cgroup v1 and v2 side by side
	}
	dir, err := os.MkdirTemp(root, fmt.Sprintf("nf-%d-", os.Getpid()))
	if err != nil {
		tb.Fatalf("make cgroup: %v", err)
	}
	tb.Cleanup(func() { os.Remove(dir) })
	file, err := os.Open(dir)
	if err != nil {
		tb.Fatalf("open cgroup: %v", err)
	}
	tb.Cleanup(func() { file.Close() })
	return &Cgroup{tb: tb, dir: dir, file: file}
}

// Name returns the cgroup's path below the root.
func (c *Cgroup) Name() string { return "/" + filepath.Base(c.dir) }

// DropEgress drops all that the cgroup's processes send.
func (c *Cgroup) DropEgress() {
	attached, err := link.AttachCgroup(link.CgroupOptions{
		Path: c.dir, Attach: ebpf.AttachCGroupInetEgress, Program: returns(c.tb, ebpf.CGroupSKB, 0),
	})
	if err != nil {
		c.tb.Fatalf("attach to cgroup: %v", err)
	}
	c.tb.Cleanup(func() { attached.Close() })
}

// Run runs a helper in the cgroup and the namespace, to its end.
func (c *Cgroup) Run(n *netlab.NetNS, args ...string) {
	cmd := HelperCommand(args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(c.file.Fd())}
	n.Start(cmd)
	if err := cmd.Wait(); err != nil {
		c.tb.Fatalf("run helper %q: %v", args, err)
	}
}
