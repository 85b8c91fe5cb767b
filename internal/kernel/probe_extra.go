package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// loopback is the interface index of lo in every network namespace.
const loopback = 1

func (l *lab) bpfLoop() error { return features.HaveProgramHelper(ebpf.SocketFilter, asm.FnLoop) }

func (l *lab) moduleBTF() error {
	modules, err := l.cache.Modules()
	if err != nil {
		return err
	}
	if len(modules) > 0 {
		_, err := l.cache.Module(modules[0])
		return err
	}
	loaded := readText("/proc/modules")
	if loaded == "" {
		return remark("no module is loaded")
	}
	return absent("modules are loaded, but /sys/kernel/btf does not list them")
}

// kprobeTargets are functions that are on every kernel and called seldom.
func kprobeTargets() []string { return []string{"inet_listen", "ip_mc_join_group", "do_reboot"} }

// hasPMU says whether the kernel has a kind of probe at all. Without it
// cilium/ebpf turns to tracefs, and errors would speak of that.
func hasPMU(name string) error {
	_, err := os.Stat("/sys/bus/event_source/devices/" + name + "/type")
	if errors.Is(err, os.ErrNotExist) {
		return absent("this kernel has no %ss", name)
	}
	return nil
}

func (l *lab) kprobe() error {
	if err := hasPMU("kprobe"); err != nil {
		return err
	}
	return firstTarget(func(target string) error {
		return l.attach(&ebpf.ProgramSpec{Type: ebpf.Kprobe, Instructions: returns(0)}, func(p *ebpf.Program) (link.Link, error) {
			return link.Kprobe(target, p, nil)
		})
	})
}

func (l *lab) kprobeMulti() error {
	return firstTarget(func(target string) error {
		spec := &ebpf.ProgramSpec{Type: ebpf.Kprobe, AttachType: ebpf.AttachTraceKprobeMulti, Instructions: returns(0)}
		return l.attach(spec, func(p *ebpf.Program) (link.Link, error) {
			return link.KprobeMulti(p, link.KprobeMultiOptions{Symbols: []string{target}})
		})
	})
}

func (l *lab) fentry() error {
	return firstTarget(func(target string) error { return l.attachTracing(ebpf.AttachTraceFEntry, target) })
}

func (l *lab) fexit() error {
	return firstTarget(func(target string) error { return l.attachTracing(ebpf.AttachTraceFExit, target) })
}

// firstTarget tries the kprobeTargets until one exists.
func firstTarget(try func(string) error) error {
	var err error
	for _, target := range kprobeTargets() {
		err = try(target)
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, btf.ErrNotFound) {
			return err
		}
	}
	return err
}

func (l *lab) uprobe() error {
	if err := hasPMU("uprobe"); err != nil {
		return err
	}
	return inScratchFile(func(ex *link.Executable) error {
		return l.attach(&ebpf.ProgramSpec{Type: ebpf.Kprobe, Instructions: returns(0)}, func(p *ebpf.Program) (link.Link, error) {
			return ex.Uprobe("", p, &link.UprobeOptions{Address: scratchOffset})
		})
	})
}

func (l *lab) uprobeMulti() error {
	return inScratchFile(func(ex *link.Executable) error {
		spec := &ebpf.ProgramSpec{Type: ebpf.Kprobe, AttachType: ebpf.AttachTraceUprobeMulti, Instructions: returns(0)}
		return l.attach(spec, func(p *ebpf.Program) (link.Link, error) {
			return ex.UprobeMulti(nil, p, &link.UprobeMultiOptions{Addresses: []uint64{scratchOffset}})
		})
	})
}

const scratchOffset = 64

// inScratchFile calls f with a file to put uprobes in: one in memory that no
// process maps, so that nobody's code is touched.
func inScratchFile(f func(*link.Executable) error) error {
	fd, err := unix.MemfdCreate("netfate_probe", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("create file in memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), "netfate_probe")
	defer file.Close()
	if _, err := file.Write(make([]byte, 4096)); err != nil {
		return fmt.Errorf("write file in memory: %w", err)
	}
	ex, err := link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return err
	}
	return f(ex)
}

func (l *lab) tcx() error {
	if err := l.netns(); err != nil {
		return err
	}
	return l.attach(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: returns(0)}, func(p *ebpf.Program) (link.Link, error) {
		return link.AttachTCX(link.TCXOptions{Interface: loopback, Program: p, Attach: ebpf.AttachTCXIngress})
	})
}

func (l *lab) xdp() error {
	if err := l.netns(); err != nil {
		return err
	}
	return l.attach(&ebpf.ProgramSpec{Type: ebpf.XDP, Instructions: returns(2)}, func(p *ebpf.Program) (link.Link, error) { // XDP_PASS
		return link.AttachXDP(link.XDPOptions{Interface: loopback, Program: p, Flags: link.XDPGenericMode})
	})
}

func (l *lab) netfilter() error {
	if err := l.netns(); err != nil {
		return err
	}
	spec := &ebpf.ProgramSpec{Type: ebpf.Netfilter, AttachType: ebpf.AttachNetfilter, Instructions: returns(1)} // NF_ACCEPT
	return l.attach(spec, func(p *ebpf.Program) (link.Link, error) {
		return link.AttachNetfilter(link.NetfilterOptions{
			Program: p, ProtocolFamily: link.NetfilterProtoIPv4, Hook: link.NetfilterInetLocalIn, Priority: 1,
		})
	})
}

// clsact loads a classifier and makes the qdisc that it would hang in.
func (l *lab) clsact() error {
	if err := l.netns(); err != nil {
		return err
	}
	if err := l.attach(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: returns(0)}, nil); err != nil {
		return err
	}
	return addClsact(loopback)
}

// addClsact adds a clsact qdisc to an interface of the thread's network
// namespace by one rtnetlink message, and reads the answer.
func addClsact(ifindex int32) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	defer unix.Close(fd)

	order := binary.NativeEndian
	body := []byte{unix.AF_UNSPEC, 0, 0, 0} // struct tcmsg
	body = order.AppendUint32(body, uint32(ifindex))
	body = order.AppendUint32(body, 0xffff0000) // handle ffff:
	body = order.AppendUint32(body, 0xfffffff1) // parent TC_H_CLSACT
	body = order.AppendUint32(body, 0)
	kind := append([]byte("clsact"), 0)
	body = order.AppendUint16(body, uint16(unix.SizeofRtAttr+len(kind)))
	body = order.AppendUint16(body, 1) // TCA_KIND
	body = append(append(body, kind...), 0)

	msg := order.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	msg = order.AppendUint16(msg, unix.RTM_NEWQDISC)
	msg = order.AppendUint16(msg, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	msg = order.AppendUint32(msg, 1) // sequence
	msg = order.AppendUint32(msg, 0)
	msg = append(msg, body...)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send to rtnetlink: %w", err)
	}
	// The kernel has answered when sendto returns.
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, unix.MSG_DONTWAIT)
	if err != nil {
		return fmt.Errorf("read from rtnetlink: %w", err)
	}
	if n < unix.SizeofNlMsghdr+4 || order.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("read from rtnetlink: no answer in %d bytes", n)
	}
	if errno := -int32(order.Uint32(answer[unix.SizeofNlMsghdr:])); errno != 0 {
		return fmt.Errorf("add clsact: %w", unix.Errno(errno))
	}
	return nil
}

// lsm attaches to a hook that only readers of the kernel's log call, allows it,
// and calls it: a kernel whose lsm= lacks bpf takes the program but never runs
// it.
func (l *lab) lsm() error {
	ran, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return err
	}
	defer ran.Close()
	spec := &ebpf.ProgramSpec{
		Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: "syslog",
		Instructions: append(asm.Instructions{
			asm.LoadMapValue(asm.R1, ran.FD(), 0),
			asm.StoreImm(asm.R1, 0, 1, asm.Word),
		}, returns(0)...),
	}
	err = l.attach(spec, func(p *ebpf.Program) (link.Link, error) {
		lnk, err := link.AttachLSM(link.LSMOptions{Program: p})
		if err != nil {
			return nil, err
		}
		const sizeOfBuffer = 10 // SYSLOG_ACTION_SIZE_BUFFER
		if _, err := unix.Klogctl(sizeOfBuffer, nil); err != nil {
			return nil, errors.Join(fmt.Errorf("ask for the size of the kernel's log: %w", err), lnk.Close())
		}
		return lnk, nil
	})
	if err != nil {
		return err
	}
	var flag uint32
	if err := ran.Lookup(uint32(0), &flag); err != nil {
		return err
	}
	if flag == 0 {
		return absent("bpf is not among the security modules that are active, so programs load but never run")
	}
	return nil
}

// structOps registers a congestion control and takes it away again. No socket
// uses one that it did not ask for by name.
func (l *lab) structOps() error {
	const kind, flagLink = "tcp_congestion_ops", 1 << 13 // BPF_F_LINK
	pointer := &btf.Pointer{Target: &btf.Void{}}
	functions := []string{"ssthresh", "undo_cwnd", "cong_avoid"} // it must have these
	value := &btf.Struct{Name: kind}
	programs := make(map[string]*ebpf.ProgramSpec)
	for i, name := range functions {
		value.Members = append(value.Members, btf.Member{Name: name, Type: pointer, Offset: btf.Bits(i * 64)})
		programs[name] = &ebpf.ProgramSpec{
			Name: name, Type: ebpf.StructOps, AttachType: ebpf.AttachStructOps, AttachTo: kind + ":" + name,
			License: probeLicense, Instructions: returns(2),
		}
	}
	char := &btf.Int{Name: "char", Size: 1, Encoding: btf.Char}
	value.Members = append(value.Members, btf.Member{
		Name: "name", Type: &btf.Array{Index: u32(), Type: char, Nelems: 16}, Offset: btf.Bits(len(functions) * 64),
	})
	value.Size = uint32(len(functions)*8 + 16)
	data := append(make([]byte, len(functions)*8), "netfate_probe\x00\x00\x00"...)
	c, err := ebpf.NewCollectionWithOptions(&ebpf.CollectionSpec{
		Programs: programs,
		Maps: map[string]*ebpf.MapSpec{"netfate_probe": {
			Name: "netfate_probe", Type: ebpf.StructOpsMap, MaxEntries: 1, Flags: flagLink,
			Key: u32(), KeySize: 4, Value: value, ValueSize: value.Size,
			Contents: []ebpf.MapKV{{Key: uint32(0), Value: data}},
		}},
	}, ebpf.CollectionOptions{Cache: l.cache})
	if err != nil {
		return err
	}
	defer c.Close()
	lnk, err := link.AttachStructOps(link.StructOpsOptions{Map: c.Maps["netfate_probe"]})
	if err != nil {
		return err
	}
	return lnk.Close()
}

func u32() *btf.Int { return &btf.Int{Name: "unsigned int", Size: 4} }
