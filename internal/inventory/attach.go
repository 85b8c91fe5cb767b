package inventory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/internal/section"
)

// Attachment is one place at which a program is attached.
type Attachment struct {
	// How is the kind of attachment: link where the kernel has a link for it, else
	// tc, xdp, cgroup or perf event for the ways of old.
	How string `json:"how"`
	// Where is for people: eth0 tc ingress, sched:sched_switch, /sys/fs/cgroup/x.
	Where string `json:"where"`
	Link  uint32 `json:"link_id,omitempty"`
}

// attachments finds where each program is attached, and what that tells of its kind.
func (s *scan) attachments(ctx context.Context, programs []Program, byID map[uint32]*Program) {
	links := s.links(ctx)
	a := &attacher{scan: s, byID: byID, linked: map[uint32]bool{}}
	a.devices = s.networks(ctx, wantDevices(programs, links))
	a.cgroups = s.cgroupTree(ctx, wantCgroups(programs, links))
	for i := range links {
		a.link(&links[i])
	}
	a.perfEvents()
	for _, u := range a.devices.unlinked {
		if p := byID[u.program]; p != nil && !a.linked[u.program] {
			p.Attached = append(p.Attached, Attachment{How: u.how, Where: u.where})
		}
	}
	s.oldCgroups(ctx, a.cgroups, programs, byID, a.linked)
}

// linkInfo is what the kernel tells of a link.
type linkInfo struct {
	*link.Info
	target string // of an iterator
}

func (s *scan) links(ctx context.Context) []linkInfo {
	it := new(link.Iterator)
	defer it.Close()
	var links []linkInfo
	for ctx.Err() == nil && it.Next() {
		info, err := it.Link.Info()
		if err != nil {
			s.miss("links", err)
			continue
		}
		l := linkInfo{Info: info}
		if fd, ok := it.Link.(interface{ FD() int }); ok && info.Type == link.IterType {
			l.target = fdinfoField(fd.FD(), "target_name")
		}
		links = append(links, l)
	}
	if err := it.Err(); err != nil && !errors.Is(err, link.ErrNotSupported) {
		s.miss("links", err)
	}
	return links
}

// fdinfoField reads a line of what the kernel tells of an open file of ours.
func fdinfoField(fd int, key string) string {
	b, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// attacher puts places to programs.
type attacher struct {
	*scan
	byID    map[uint32]*Program
	linked  map[uint32]bool // programs that have a link
	devices *networks
	cgroups map[uint64]string // by inode
	kernel  *btf.Spec
}

func (a *attacher) link(l *linkInfo) {
	p := a.byID[uint32(l.Program)]
	if p == nil {
		return // loaded after the programs were listed
	}
	a.linked[p.ID] = true
	kind, where := a.place(l)
	if p.typ == ebpf.Tracing && l.RawTracepoint() != nil {
		kind = section.TracingRawTracepoint // such programs attach by the call for raw ones
	}
	if kind != "" {
		p.Kind = string(kind)
	}
	p.Attached = append(p.Attached, Attachment{How: "link", Where: where, Link: uint32(l.ID)})
}

// place tells a link's kind, empty if the program's type says it all, and place.
func (a *attacher) place(l *linkInfo) (section.Kind, string) {
	switch {
	case l.RawTracepoint() != nil:
		return "", l.RawTracepoint().Name
	case l.Tracing() != nil:
		return a.tracing(l.Tracing())
	case l.PerfEvent() != nil:
		return ofPerfLink(l.PerfEvent())
	case l.Cgroup() != nil:
		return "", a.cgroupPath(l.Cgroup().CgroupId) + " " + attachName(ebpf.AttachType(l.Cgroup().AttachType))
	case l.NetNs() != nil:
		return "", a.devices.name(l.NetNs().NetnsInode)
	case l.XDP() != nil:
		return "", a.devices.ofLink(uint32(l.ID), uint32(l.Program), l.XDP().Ifindex, "xdp")
	case l.TCX() != nil:
		return "", a.devices.ofLink(uint32(l.ID), uint32(l.Program), l.TCX().Ifindex, attachName(ebpf.AttachType(l.TCX().AttachType)))
	case l.Netkit() != nil:
		return section.Netkit, a.devices.ofLink(uint32(l.ID), uint32(l.Program), l.Netkit().Ifindex, attachName(ebpf.AttachType(l.Netkit().AttachType)))
	case l.Netfilter() != nil:
		return "", netfilter(l.Netfilter())
	case l.KprobeMulti() != nil:
		return section.KprobeMulti, fmt.Sprintf("%d functions", l.KprobeMulti().Count)
	case l.UprobeMulti() != nil:
		return section.UprobeMulti, fmt.Sprintf("%d places in %s", l.UprobeMulti().Count, l.UprobeMulti().File)
	case l.Type == link.IterType:
		return section.Iter, l.target
	case l.Type == link.StructOpsType:
		return section.StructOps, "kernel operations"
	}
	return "", fmt.Sprintf("link of type %d", l.Type)
}

// tracing names the function or tracepoint of a link that BTF types. The numbers
// are those of enum bpf_attach_type.
func (a *attacher) tracing(t *link.TracingInfo) (section.Kind, string) {
	kinds := map[ebpf.AttachType]section.Kind{
		ebpf.AttachTraceRawTp: section.TracingRawTracepoint, ebpf.AttachTraceFEntry: section.Fentry, ebpf.AttachTraceFExit: section.Fexit,
		ebpf.AttachModifyReturn: section.FmodRet, ebpf.AttachLSMMac: section.LSM,
	}
	kind := kinds[ebpf.AttachType(t.AttachType)]
	name, err := a.typeName(t.TargetObjectId, t.TargetBtfId)
	if err != nil {
		a.miss("names of what programs trace", err)
		return kind, fmt.Sprintf("BTF type %d", t.TargetBtfId)
	}
	name = strings.TrimPrefix(name, "btf_trace_")
	if kind == section.LSM {
		name = strings.TrimPrefix(name, "bpf_lsm_")
	}
	return kind, name
}

// typeName looks a type up in the BTF of the kernel, a module or a program.
func (a *attacher) typeName(object uint32, id btf.TypeID) (string, error) {
	if a.kernel == nil {
		spec, err := btf.LoadKernelSpec()
		if err != nil {
			return "", fmt.Errorf("read the kernel's BTF: %w", err)
		}
		a.kernel = spec
	}
	spec := a.kernel
	if object != 0 {
		h, err := btf.NewHandleFromID(btf.ID(object))
		if err != nil {
			return "", fmt.Errorf("open BTF %d: %w", object, err)
		}
		defer h.Close()
		info, err := h.Info()
		if err != nil {
			return "", fmt.Errorf("read BTF %d: %w", object, err)
		}
		var base *btf.Spec // a program's own BTF stands on none
		if info.IsModule() {
			base = a.kernel
		}
		if !info.IsVmlinux() {
			if spec, err = h.Spec(base); err != nil {
				return "", fmt.Errorf("read BTF %d: %w", object, err)
			}
		}
	}
	t, err := spec.TypeByID(id)
	if err != nil {
		return "", fmt.Errorf("look up BTF type %d: %w", id, err)
	}
	return t.TypeName(), nil
}

// ofPerfLink tells what the perf event of a link is on.
func ofPerfLink(e *link.PerfEventInfo) (section.Kind, string) {
	switch {
	case e.Tracepoint() != nil:
		return section.Tracepoint, e.Tracepoint().Tracepoint
	case e.Kprobe() != nil:
		where := e.Kprobe().Function
		if off := e.Kprobe().Offset; off != 0 {
			where += fmt.Sprintf("+%#x", off)
		}
		if e.Type == link.PerfEventKretprobe {
			return section.Kretprobe, where
		}
		return section.Kprobe, where
	case e.Uprobe() != nil:
		where := fmt.Sprintf("%s+%#x", e.Uprobe().File, e.Uprobe().Offset)
		if e.Type == link.PerfEventUretprobe {
			return section.Uretprobe, where
		}
		return section.Uprobe, where
	case e.Event() != nil:
		return section.PerfEvent, fmt.Sprintf("perf event %d:%d", e.Event().Type, e.Event().Config)
	}
	return "", untold
}

func netfilter(n *link.NetfilterInfo) string {
	family, ok := map[uint32]string{2: "ip", 10: "ip6", 1: "inet", 7: "bridge", 3: "arp", 5: "netdev"}[uint32(n.ProtocolFamily)]
	if !ok {
		family = strconv.Itoa(int(n.ProtocolFamily))
	}
	hooks := []string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}
	hook := strconv.Itoa(int(n.Hook))
	if int(n.Hook) < len(hooks) {
		hook = hooks[n.Hook]
	}
	return fmt.Sprintf("%s %s priority %d", family, hook, n.Priority)
}

// attachName is what people call an attach type: ingress, connect4.
func attachName(t ebpf.AttachType) string {
	names := map[ebpf.AttachType]string{
		ebpf.AttachTCXIngress: "tc ingress", ebpf.AttachTCXEgress: "tc egress", ebpf.AttachNetkitPrimary: "primary", ebpf.AttachNetkitPeer: "peer",
		ebpf.AttachCGroupInetIngress: "ingress", ebpf.AttachCGroupInetEgress: "egress", ebpf.AttachCGroupInetSockCreate: "sock_create",
		ebpf.AttachCGroupSockOps: "sockops", ebpf.AttachCGroupDevice: "device", ebpf.AttachCGroupInet4Bind: "bind4",
		ebpf.AttachCGroupInet6Bind: "bind6", ebpf.AttachCGroupInet4Connect: "connect4", ebpf.AttachCGroupInet6Connect: "connect6",
		ebpf.AttachCGroupInet4PostBind: "post_bind4", ebpf.AttachCGroupInet6PostBind: "post_bind6", ebpf.AttachCGroupUDP4Sendmsg: "sendmsg4",
		ebpf.AttachCGroupUDP6Sendmsg: "sendmsg6", ebpf.AttachCGroupSysctl: "sysctl", ebpf.AttachCGroupUDP4Recvmsg: "recvmsg4",
		ebpf.AttachCGroupUDP6Recvmsg: "recvmsg6", ebpf.AttachCGroupGetsockopt: "getsockopt", ebpf.AttachCGroupSetsockopt: "setsockopt",
		ebpf.AttachCgroupInet4GetPeername: "getpeername4", ebpf.AttachCgroupInet6GetPeername: "getpeername6",
		ebpf.AttachCgroupInet4GetSockname: "getsockname4", ebpf.AttachCgroupInet6GetSockname: "getsockname6",
		ebpf.AttachCgroupInetSockRelease: "sock_release",
	}
	if name, ok := names[t]; ok {
		return name
	}
	return strings.ToLower(t.String())
}
