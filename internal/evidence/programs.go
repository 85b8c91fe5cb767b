package evidence

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The attach types of enum bpf_attach_type that are asked about.
const (
	cgroupInetIngress = 0
	cgroupInetEgress  = 1
	tcxIngress        = 46
	tcxEgress         = 47

	bpfProgQuery   = 16 // BPF_PROG_QUERY
	queryEffective = 1  // BPF_F_QUERY_EFFECTIVE: what the parents attached, too
)

// programFacts lists what may drop packets of its own accord: XDP, tc filters,
// tcx and cgroup programs.
func programFacts(c *collector) ([]Fact, error) {
	var facts []Fact
	if c.PID != 0 {
		facts = append(facts, c.cgroupPrograms()...)
	}
	onLink, err := c.withLink(func(h *netlink.Handle, link netlink.Link) ([]Fact, error) {
		found := xdpFacts(link)
		for _, way := range []struct {
			name   string
			parent uint32
			tcx    uint32
		}{{"ingress", netlink.HANDLE_MIN_INGRESS, tcxIngress}, {"egress", netlink.HANDLE_MIN_EGRESS, tcxEgress}} {
			found = append(found, tcxFacts(link, way.name, way.tcx)...)
			filters, err := h.FilterList(link, way.parent)
			if err != nil {
				if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
					continue // no clsact on it
				}
				return found, fmt.Errorf("list tc filters: %w", err)
			}
			for _, f := range filters {
				found = append(found, filterFact(f, way.name, c.IfName))
			}
		}
		if len(found) == 0 {
			found = append(found, Fact{Name: "programs on " + c.IfName, Value: "none", Note: "no XDP, tcx or tc filter"})
		}
		return found, nil
	})
	if errors.Is(err, errNoInterface) && len(facts) > 0 {
		err = nil
	}
	return append(facts, onLink...), err
}

func xdpFacts(link netlink.Link) []Fact {
	x := link.Attrs().Xdp
	if x == nil || !x.Attached {
		return nil
	}
	mode := map[uint32]string{1: "native", 2: "generic", 3: "offloaded", 4: "several"}[x.AttachMode]
	return []Fact{{
		Name: "XDP on " + link.Attrs().Name, Value: fmt.Sprintf("program %d, %s", x.ProgId, mode),
		Note: fmt.Sprintf("bpftool prog show id %d tells what it is", x.ProgId),
	}}
}

func filterFact(f netlink.Filter, way, ifname string) Fact {
	a := f.Attrs()
	fact := Fact{
		Name:  fmt.Sprintf("tc %s filter on %s", way, ifname),
		Value: fmt.Sprintf("%s pref %d", f.Type(), a.Priority),
	}
	if b, ok := f.(*netlink.BpfFilter); ok {
		fact.Value += fmt.Sprintf(" %s, program %d", b.Name, b.Id)
	}
	return fact
}

// tcxFacts lists the tcx programs of an interface; kernels before 6.6 have none.
func tcxFacts(link netlink.Link, way string, attach uint32) []Fact {
	ids, err := queryPrograms(uint32(link.Attrs().Index), attach, 0)
	if err != nil {
		return nil
	}
	return programList(fmt.Sprintf("tcx %s on %s", way, link.Attrs().Name), ids)
}

// cgroupPrograms lists the programs in force for the subject's process.
func (c *collector) cgroupPrograms() []Fact {
	text, err := readFile(fmt.Sprintf("/proc/%d/cgroup", c.PID))
	if err != nil {
		return []Fact{missing("", "cgroup programs", err)}
	}
	var path string
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			path = rest
		}
	}
	dir, err := openCgroup(path)
	if err != nil {
		return []Fact{missing("", "cgroup programs", err)}
	}
	defer dir.Close()
	var facts []Fact
	for _, way := range []struct {
		name   string
		attach uint32
	}{{"ingress", cgroupInetIngress}, {"egress", cgroupInetEgress}} {
		ids, err := queryPrograms(uint32(dir.Fd()), way.attach, queryEffective)
		if err != nil {
			return append(facts, missing("", "cgroup programs", err))
		}
		facts = append(facts, programList(fmt.Sprintf("cgroup %s for process %d", way.name, c.PID), ids)...)
	}
	return facts
}

// openCgroup opens a directory of the cgroup v2 tree, where that is mounted:
// on hybrid systems below the controllers of version 1.
func openCgroup(path string) (*os.File, error) {
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(root, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return os.Open(root + path)
		}
	}
	return nil, errors.New("no cgroup tree of version 2 is mounted")
}

func programList(name string, ids []uint32) []Fact {
	var facts []Fact
	for _, id := range ids {
		facts = append(facts, Fact{Name: name, Value: fmt.Sprintf("program %d", id), Note: fmt.Sprintf("bpftool prog show id %d tells what it is", id)})
	}
	return facts
}

// queryPrograms asks which programs are attached to a target: an interface
// index or the descriptor of a cgroup. At most maxPerKey are returned.
func queryPrograms(target, attach, flags uint32) ([]uint32, error) {
	ids := make([]uint32, maxPerKey)
	// The query part of union bpf_attr.
	attr := struct {
		target, attachType, queryFlags, attachFlags uint32
		ids                                         unsafe.Pointer
		count, _                                    uint32
		_                                           [4]uint64 // later fields, zero
	}{target: target, attachType: attach, queryFlags: flags, ids: unsafe.Pointer(&ids[0]), count: uint32(len(ids))}
	_, _, errno := unix.Syscall(unix.SYS_BPF, bpfProgQuery, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(ids)
	if errno != 0 && errno != unix.ENOSPC {
		return nil, errno
	}
	return ids[:min(int(attr.count), len(ids))], nil
}
