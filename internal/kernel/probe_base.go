package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// probeLicense is that of the programs below, which the kernel counts as GPL.
const probeLicense = "Dual BSD/GPL"

// returns is a program that returns n.
func returns(n int32) asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, n), asm.Return()}
}

// load loads a program. It goes by way of a collection for its cache: without,
// the kernel's BTF would be read for each program, at 30 ms a time.
func (l *lab) load(spec *ebpf.ProgramSpec) (*ebpf.Program, error) {
	const name = "netfate_probe"
	spec.License, spec.Name = probeLicense, name
	c, err := ebpf.NewCollectionWithOptions(&ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{name: spec}},
		ebpf.CollectionOptions{Cache: l.cache})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.DetachProgram(name), nil
}

// attach loads a program, attaches it if at is not nil, and closes both.
func (l *lab) attach(spec *ebpf.ProgramSpec, at func(*ebpf.Program) (link.Link, error)) error {
	prog, err := l.load(spec)
	if err != nil {
		return err
	}
	defer prog.Close()
	if at == nil {
		return nil
	}
	lnk, err := at(prog)
	if err != nil {
		return err
	}
	return lnk.Close()
}

func (l *lab) bpf() error { return tryBPF() }

func (l *lab) btf() error {
	_, err := l.kernelSpec()
	return err
}

func (l *lab) tpBTF() error { return l.attachTracing(ebpf.AttachTraceRawTp, "kfree_skb") }

func (l *lab) rawTP() error { return l.attachRawTP("kfree_skb") }

func (l *lab) attachTracing(at ebpf.AttachType, to string) error {
	spec := &ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: at, AttachTo: to, Instructions: returns(0)}
	return l.attach(spec, func(p *ebpf.Program) (link.Link, error) {
		return link.AttachTracing(link.TracingOptions{Program: p, AttachType: at})
	})
}

func (l *lab) attachRawTP(name string) error {
	return l.attach(&ebpf.ProgramSpec{Type: ebpf.RawTracepoint, Instructions: returns(0)}, func(p *ebpf.Program) (link.Link, error) {
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: name, Program: p})
	})
}

func (l *lab) tracepoint() error {
	return l.attach(&ebpf.ProgramSpec{Type: ebpf.TracePoint, Instructions: returns(0)}, func(p *ebpf.Program) (link.Link, error) {
		return link.Tracepoint("skb", "kfree_skb", p, nil)
	})
}

func (l *lab) ringbuf() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize())})
	if err != nil {
		return err
	}
	return m.Close()
}

func (l *lab) mapBatch() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 4})
	if err != nil {
		return err
	}
	defer m.Close()
	keys, values := []uint32{1, 2}, []uint32{3, 4}
	if _, err := m.BatchUpdate(keys, values, nil); err != nil {
		return err
	}
	var cursor ebpf.MapBatchCursor
	n, err := m.BatchLookupAndDelete(&cursor, make([]uint32, 4), make([]uint32, 4), nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) { // which says that it was the last batch
		return err
	}
	if n != len(keys) {
		return fmt.Errorf("read %d entries of %d", n, len(keys))
	}
	return nil
}

func (l *lab) memcg() error {
	if l.charged {
		return absent("this kernel charges it to RLIMIT_MEMLOCK (before 5.11)")
	}
	if ReadProcess().MemlockLimit >= 1<<31 {
		return remark("RLIMIT_MEMLOCK is so high that it does not matter whether the kernel charges to it")
	}
	// Not limited, so not charged; or no map can be had at all.
	return tryBPF()
}

// kallsyms reads as far as the first address of code.
func (l *lab) kallsyms() error {
	f, err := os.Open(kallsymsPath)
	if err != nil {
		return &Refusal{Doing: "read symbols", Cause: symbolsHidden(err, readSysctls()).Error(), Err: err}
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	why := errNoSymbols
	for in.Scan() {
		addr, _, _, kind := parseSymbol(in.Bytes())
		if kind != symbolText {
			continue
		}
		if addr != 0 {
			return nil
		}
		why = errHiddenSymbols
	}
	if err := in.Err(); err != nil {
		return err
	}
	return &Refusal{Doing: "read symbols", Cause: symbolsHidden(why, readSysctls()).Error(), Err: why}
}

func (l *lab) dropReasons() error {
	spec, err := l.kernelSpec()
	if err != nil {
		return err
	}
	args, err := KfreeSKBArgs(spec)
	if err != nil {
		return err
	}
	reasons, err := LoadReasons(spec)
	if err != nil {
		return err
	}
	if args.Reason < 0 || reasons == nil {
		return absent("this kernel's kfree_skb has no reason (before 5.17)")
	}
	return nil
}

func (l *lab) rxSK() error {
	spec, err := l.kernelSpec()
	if err != nil {
		return err
	}
	args, err := KfreeSKBArgs(spec)
	if err != nil {
		return err
	}
	if args.RxSK < 0 {
		return absent("this kernel's kfree_skb has no receiver (before 6.11)")
	}
	return nil
}

// StoreOnSocket tries whether m, socket storage, takes value for a socket. The
// kernel may take the map and every program that uses it, and then refuse each
// socket: 7.2 does on processors without cmpxchg16b (kmalloc_nolock).
func StoreOnSocket(m *ebpf.Map, value any) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil // then there is no socket to refuse
	}
	defer unix.Close(fd)
	if err := m.Put(uint32(fd), value); err != nil {
		return fmt.Errorf("store on a socket: %w", err)
	}
	return nil
}

// skStorage has the verifier check bpf_sk_storage_get on a tracepoint's socket,
// and stores something on one.
func (l *lab) skStorage() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.SkStorage, Flags: 1, // BPF_F_NO_PREALLOC, which it insists on
		KeySize: 4, Key: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed},
		ValueSize: 8, Value: &btf.Int{Name: "unsigned long", Size: 8},
	})
	if err != nil {
		return err
	}
	defer m.Close()
	if err := StoreOnSocket(m, uint64(1)); errors.Is(err, unix.ENOMEM) {
		return &Refusal{
			Doing: "try it", Err: err,
			Cause:  "this kernel has no memory to store on a socket, as 7.2 has none where the processor lacks cmpxchg16b (cx16)",
			Remedy: "give a virtual machine a processor that has it",
		}
	} else if err != nil {
		return err
	}
	return l.attach(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "inet_sock_set_state",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord), // const struct sock *sk
			asm.LoadMapPtr(asm.R1, m.FD()),
			asm.Mov.Imm(asm.R3, 0),
			asm.Mov.Imm(asm.R4, 0),
			asm.FnSkStorageGet.Call(),
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
		},
	}, nil)
}

// sockFromFile has the verifier check bpf_sock_from_file in the iterator that
// it is used in.
func (l *lab) sockFromFile() error {
	spec, err := l.kernelSpec()
	if err != nil {
		return err
	}
	var args *btf.Struct
	if err := spec.TypeByName("bpf_iter__task_file", &args); err != nil {
		return err
	}
	for _, m := range args.Members {
		if file := memberOf(m, "file"); file >= 0 {
			return l.attach(&ebpf.ProgramSpec{
				Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "task_file",
				Instructions: asm.Instructions{
					asm.LoadMem(asm.R1, asm.R1, int16(file), asm.DWord),
					asm.JEq.Imm(asm.R1, 0, "out"),
					asm.FnSockFromFile.Call(),
					asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
					asm.Return(),
				},
			}, nil)
		}
	}
	return absent("the iterator over files has no file")
}

// memberOf returns the offset in bytes of member name, which may sit in a
// union without a name (that is how iterators declare their pointers), or -1.
func memberOf(m btf.Member, name string) int64 {
	if m.Name == name {
		return int64(m.Offset.Bytes())
	}
	if m.Name != "" {
		return -1
	}
	if u, ok := btf.As[*btf.Union](m.Type); ok {
		for _, inner := range u.Members {
			if inner.Name == name {
				return int64(m.Offset.Bytes() + inner.Offset.Bytes())
			}
		}
	}
	return -1
}

// cgroupSock allows the creation of each socket for a moment.
func (l *lab) cgroupSock() error {
	if l.mounts.Cgroup2 == "" {
		return absent("no cgroup2 hierarchy is mounted here")
	}
	at := ebpf.AttachCGroupInetSockCreate
	return l.attach(&ebpf.ProgramSpec{Type: ebpf.CGroupSock, AttachType: at, Instructions: returns(1)}, func(p *ebpf.Program) (link.Link, error) {
		return link.AttachCgroup(link.CgroupOptions{Path: l.mounts.Cgroup2, Attach: at, Program: p})
	})
}

// cgroupSKB lets each packet of a socket pass for a moment.
func (l *lab) cgroupSKB() error {
	if l.mounts.Cgroup2 == "" {
		return absent("no cgroup2 hierarchy is mounted here")
	}
	at := ebpf.AttachCGroupInetEgress
	return l.attach(&ebpf.ProgramSpec{Type: ebpf.CGroupSKB, AttachType: at, Instructions: returns(1)}, func(p *ebpf.Program) (link.Link, error) {
		return link.AttachCgroup(link.CgroupOptions{Path: l.mounts.Cgroup2, Attach: at, Program: p})
	})
}

func (l *lab) sockLength() error {
	spec, err := l.kernelSpec()
	if err != nil {
		return err
	}
	for _, name := range []string{"sock_send_length", "sock_recv_length"} {
		if !HasTracepoint(spec, name) {
			return absent("this kernel has no tracepoint %s (before 6.3)", name)
		}
		if err := l.attachRawTP(name); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) iterTaskFile() error { return l.attachIter("task_file", link.IterOptions{}, false) }

func (l *lab) iterTCP() error { return l.attachIter("tcp", link.IterOptions{}, true) }

func (l *lab) iterUDP() error { return l.attachIter("udp", link.IterOptions{}, true) }

func (l *lab) iterMapElem() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return err
	}
	defer m.Close()
	return l.attachIter("bpf_map_elem", link.IterOptions{Map: m}, true)
}

// attachIter attaches a program to an iterator and, if run is set, runs it
// once: over the sockets of an empty namespace, that is.
func (l *lab) attachIter(name string, opts link.IterOptions, run bool) error {
	spec := &ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: name, Instructions: returns(0)}
	prog, err := l.load(spec)
	if err != nil {
		return err
	}
	defer prog.Close()
	opts.Program = prog
	it, err := link.AttachIter(opts)
	if err != nil {
		return err
	}
	defer it.Close()
	if !run {
		return nil
	}
	r, err := it.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.Read(make([]byte, 64))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
