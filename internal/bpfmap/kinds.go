package bpfmap

import "github.com/cilium/ebpf"

// kind is what user space can do with the maps of a type. Each sentence says why
// something cannot be done; an empty one says that it can.
type kind struct {
	name   string // as bpftool calls it
	dump   string
	get    string
	set    string
	delete string

	index   bool // the key is a number from 0: it needs no BTF
	keyless bool // get, set and delete take no key
	object  bool // values are programs or maps
}

const (
	noArrayDelete = "entries of an array are always there: set the entry to 0"
	noEvents      = "it is a channel, read once by its consumer: netfate run shows the events of what it loads"
)

// kindOf returns what can be done with maps of type t.
func kindOf(t ebpf.MapType) kind {
	switch t {
	case ebpf.Hash:
		return kind{name: "hash"}
	case ebpf.PerCPUHash:
		return kind{name: "percpu_hash"}
	case ebpf.LRUHash:
		return kind{name: "lru_hash"}
	case ebpf.LRUCPUHash:
		return kind{name: "lru_percpu_hash"}
	case ebpf.LPMTrie:
		return kind{name: "lpm_trie"}
	case ebpf.Array:
		return kind{name: "array", index: true, delete: noArrayDelete}
	case ebpf.PerCPUArray:
		return kind{name: "percpu_array", index: true, delete: noArrayDelete}
	case ebpf.ProgramArray:
		return kind{name: "prog_array", index: true, object: true}
	case ebpf.ArrayOfMaps:
		return kind{name: "array_of_maps", index: true, object: true}
	case ebpf.HashOfMaps:
		return kind{name: "hash_of_maps", object: true}
	case ebpf.StackTrace:
		return kind{name: "stack_trace", index: true, set: "stacks are written by the kernel only"}
	case ebpf.Queue, ebpf.Stack:
		k := kind{name: "queue", keyless: true, delete: "its entries are taken off by reading them, which is left to the programs that use them"}
		if t == ebpf.Stack {
			k.name = "stack"
		}
		return k
	}
	return limited(t)
}

// limited is kindOf for the types that are read in part or not at all.
func limited(t ebpf.MapType) kind {
	all := func(name, why string) kind { return kind{name: name, dump: why, get: why, set: why, delete: why} }
	storage := func(name, of string) kind {
		return all(name, "it keeps a value with each "+of+", and the kernel lists them to BPF iterators only")
	}
	switch t {
	case ebpf.BloomFilter:
		return kind{
			name: "bloom_filter", keyless: true, dump: "it cannot list what was put in: get tells whether a value may be in it",
			delete: "nothing can be taken out of it",
		}
	case ebpf.RingBuf:
		return all("ringbuf", noEvents)
	case ebpf.UserRingbuf:
		return all("user_ringbuf", "it is a channel to a program, which reads it once")
	case ebpf.PerfEventArray:
		return all("perf_event_array", noEvents)
	case ebpf.CGroupArray:
		return all("cgroup_array", "the kernel does not tell user space which cgroups are in it")
	case ebpf.XSKMap:
		return all("xskmap", "it holds AF_XDP sockets, which the kernel does not show to others")
	case ebpf.SkStorage:
		return storage("sk_storage", "socket")
	case ebpf.TaskStorage:
		return storage("task_storage", "task")
	case ebpf.InodeStorage:
		return storage("inode_storage", "inode")
	case ebpf.CGroupStorage:
		return storage("cgrp_storage", "cgroup")
	case ebpf.Arena:
		return all("arena", "it is memory of a program and has no entries")
	case ebpf.StructOpsMap:
		const why = "it is a table of functions in use by the kernel"
		return kind{name: "struct_ops", index: true, set: why, delete: why}
	case ebpf.CgroupStorage:
		return kind{name: "cgroup_storage", delete: "entries go with their cgroup"}
	case ebpf.PerCPUCGroupStorage:
		return kind{name: "percpu_cgroup_storage", delete: "entries go with their cgroup"}
	case ebpf.SockMap:
		return kind{name: "sockmap", index: true, set: "only the owner of a socket can put it in"}
	case ebpf.SockHash:
		return kind{name: "sockhash", set: "only the owner of a socket can put it in"}
	case ebpf.ReusePortSockArray:
		return kind{name: "reuseport_sockarray", index: true, set: "only the owner of a socket can put it in"}
	case ebpf.DevMap:
		return kind{name: "devmap", index: true}
	case ebpf.DevMapHash:
		return kind{name: "devmap_hash"}
	case ebpf.CPUMap:
		return kind{name: "cpumap", index: true}
	}
	return kind{name: t.String()}
}

// perCPU reports whether maps of type t have a value for each CPU.
func perCPU(t ebpf.MapType) bool {
	switch t {
	case ebpf.PerCPUHash, ebpf.PerCPUArray, ebpf.LRUCPUHash, ebpf.PerCPUCGroupStorage:
		return true
	}
	return false
}
