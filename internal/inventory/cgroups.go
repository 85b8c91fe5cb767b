package inventory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/kernel"
)

// wantCgroups reports whether anything may be attached to a cgroup.
func wantCgroups(programs []Program, links []linkInfo) bool {
	for i := range links {
		if links[i].Cgroup() != nil {
			return true
		}
	}
	for i := range programs {
		if len(cgroupAttachTypes(programs[i].typ)) > 0 {
			return true
		}
	}
	return false
}

// cgroupTree returns the directories of all cgroups of version 2 by their inode,
// which is their id for BPF.
func (s *scan) cgroupTree(ctx context.Context, wanted bool) map[uint64]string {
	root := kernel.ReadMounts().Cgroup2
	if !wanted || root == "" {
		return nil
	}
	tree := map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			s.miss("cgroups", err)
			return nil
		}
		if !d.IsDir() {
			return nil
		}
		if len(tree) >= maxCgroups || ctx.Err() != nil {
			s.miss("cgroups", fmt.Errorf("only the first %d were looked at", len(tree)))
			return fs.SkipAll
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err == nil { // else it is gone
			tree[st.Ino] = path
		}
		return nil
	})
	s.miss("cgroups", err)
	return tree
}

func (a *attacher) cgroupPath(id uint64) string {
	if path, ok := a.cgroups[id]; ok {
		return path
	}
	return fmt.Sprintf("cgroup %d", id) // gone, or outside what is mounted here
}

// oldCgroups finds programs that are attached to cgroups without links, as
// systemd does: each cgroup is asked, but only if there is a program of that
// type whose place is not known yet.
func (s *scan) oldCgroups(ctx context.Context, tree map[uint64]string, programs []Program, byID map[uint32]*Program, linked map[uint32]bool) {
	var types []ebpf.AttachType
	asked := map[ebpf.ProgramType]bool{}
	for i := range programs {
		if p := &programs[i]; !linked[p.ID] && !asked[p.typ] {
			asked[p.typ] = true
			types = append(types, cgroupAttachTypes(p.typ)...)
		}
	}
	if len(types) == 0 {
		return
	}
	for _, path := range tree {
		if ctx.Err() != nil {
			return
		}
		s.askCgroup(path, types, byID, linked)
	}
}

func (s *scan) askCgroup(path string, types []ebpf.AttachType, byID map[uint32]*Program, linked map[uint32]bool) {
	dir, err := os.Open(path)
	if err != nil {
		s.miss("cgroups", err)
		return
	}
	defer dir.Close()
	for _, t := range types {
		res, err := link.QueryPrograms(link.QueryOptions{Target: int(dir.Fd()), Attach: t})
		if err != nil {
			if !errors.Is(err, unix.EINVAL) && !errors.Is(err, link.ErrNotSupported) { // an older kernel lacks the type
				s.miss("programs of cgroups", err)
			}
			continue
		}
		for _, found := range res.Programs {
			if p := byID[uint32(found.ID)]; p != nil && !linked[p.ID] {
				p.Attached = append(p.Attached, Attachment{How: "cgroup", Where: path + " " + attachName(t)})
			}
		}
	}
}

// cgroupAttachTypes are the places in a cgroup for programs of a type.
func cgroupAttachTypes(t ebpf.ProgramType) []ebpf.AttachType {
	switch t {
	case ebpf.CGroupSKB:
		return []ebpf.AttachType{ebpf.AttachCGroupInetIngress, ebpf.AttachCGroupInetEgress}
	case ebpf.CGroupSock:
		return []ebpf.AttachType{ebpf.AttachCGroupInetSockCreate, ebpf.AttachCgroupInetSockRelease, ebpf.AttachCGroupInet4PostBind, ebpf.AttachCGroupInet6PostBind}
	case ebpf.CGroupDevice:
		return []ebpf.AttachType{ebpf.AttachCGroupDevice}
	case ebpf.CGroupSysctl:
		return []ebpf.AttachType{ebpf.AttachCGroupSysctl}
	case ebpf.CGroupSockopt:
		return []ebpf.AttachType{ebpf.AttachCGroupGetsockopt, ebpf.AttachCGroupSetsockopt}
	case ebpf.SockOps:
		return []ebpf.AttachType{ebpf.AttachCGroupSockOps}
	case ebpf.CGroupSockAddr:
		return []ebpf.AttachType{
			ebpf.AttachCGroupInet4Bind, ebpf.AttachCGroupInet6Bind, ebpf.AttachCGroupInet4Connect, ebpf.AttachCGroupInet6Connect,
			ebpf.AttachCGroupUDP4Sendmsg, ebpf.AttachCGroupUDP6Sendmsg, ebpf.AttachCGroupUDP4Recvmsg, ebpf.AttachCGroupUDP6Recvmsg,
			ebpf.AttachCgroupInet4GetPeername, ebpf.AttachCgroupInet6GetPeername, ebpf.AttachCgroupInet4GetSockname, ebpf.AttachCgroupInet6GetSockname,
		}
	}
	return nil
}
