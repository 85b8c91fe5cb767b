package inventory

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/section"
)

// perfEvent is a program on a perf event that some process has open: how probes
// and tracepoints are attached before 5.15, and by older loaders ever since.
type perfEvent struct {
	program uint32
	kind    section.Kind
	where   string
	owner   Owner
}

// perfEventFile is what a perf event's open file is called.
const perfEventFile = "anon_inode:[perf_event]"

// maxPerfName bounds the names of functions and files: a path's.
const maxPerfName = 4096

// queryPerfEvent asks the kernel which program is on a perf event of a process
// (BPF_TASK_FD_QUERY, 41bdc4b40ed6, 4.18); false if none is.
func queryPerfEvent(pid, fd int) (perfEvent, bool) {
	name := make([]byte, maxPerfName)
	query := struct { // of union bpf_attr
		pid, fd, flags, length uint32
		buffer                 uint64
		program, kind          uint32
		offset, address        uint64
	}{
		pid: uint32(pid), fd: uint32(fd), length: uint32(len(name)),
		buffer: uint64(uintptr(unsafe.Pointer(&name[0]))),
	}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_TASK_FD_QUERY, uintptr(unsafe.Pointer(&query)), unsafe.Sizeof(query))
	runtime.KeepAlive(name)
	if errno != 0 || query.program == 0 {
		return perfEvent{}, false // closed meanwhile, or without a program
	}
	e := perfEvent{program: query.program, where: unix.ByteSliceToString(name)}
	switch query.kind {
	case unix.BPF_FD_TYPE_TRACEPOINT:
		e.kind = section.Tracepoint
	case unix.BPF_FD_TYPE_KPROBE, unix.BPF_FD_TYPE_KRETPROBE:
		e.kind = section.Kprobe
		if query.kind == unix.BPF_FD_TYPE_KRETPROBE {
			e.kind = section.Kretprobe
		}
		if e.where == "" {
			e.where = fmt.Sprintf("%#x", query.address)
		} else if query.offset != 0 {
			e.where += fmt.Sprintf("+%#x", query.offset)
		}
	case unix.BPF_FD_TYPE_UPROBE, unix.BPF_FD_TYPE_URETPROBE:
		e.kind = section.Uprobe
		if query.kind == unix.BPF_FD_TYPE_URETPROBE {
			e.kind = section.Uretprobe
		}
		e.where += fmt.Sprintf("+%#x", query.offset)
	default:
		return perfEvent{}, false
	}
	return e, true
}

// untold is where a link's perf event is on kernels that do not say (before 6.6,
// 1b715e1b0ec5).
const untold = "perf event"

// perfEvents puts programs to the perf events that processes have open, if no
// link does that already, or one that does not say where. Programs have one on
// each CPU, or in each process.
func (a *attacher) perfEvents() {
	type place struct {
		program uint32
		where   string
	}
	seen := map[place]bool{}
	for _, e := range a.perf {
		p := a.byID[e.program]
		if p == nil {
			continue
		}
		if a.linked[e.program] {
			for i := range p.Attached {
				if at := &p.Attached[i]; at.Where == untold {
					p.Kind, at.Where = string(e.kind), e.where
					break
				}
			}
			continue
		}
		id := object{programKind, e.program}
		a.owned[id] = append(a.owned[id], e.owner)
		if at := (place{e.program, e.where}); !seen[at] {
			seen[at] = true
			p.Kind = string(e.kind)
			p.Attached = append(p.Attached, Attachment{How: "perf event", Where: e.where})
		}
	}
}
