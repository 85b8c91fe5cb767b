// Package usdt makes programs on USDT probes (SEC("usdt/PATH:PROVIDER:NAME"), written with libbpf's <bpf/usdt.bpf.h>)
// loadable with cilium/ebpf, and finds what they attach to: the probes that <sys/sdt.h> leaves in executables and
// libraries, and where their arguments are.
//
// [Patch] comes before the object is parsed, [Fit] after; [Find] reads the probed file. The package neither loads nor
// attaches. The loader imports it.
package usdt

// The maps of usdt.bpf.h that whoever attaches fills. They are in an object that includes it.
const (
	// SpecsMap is an array of struct __bpf_usdt_spec, which [Probe].Spec encodes, by the number that is the attach
	// cookie. It has 256 entries unless the object says otherwise.
	SpecsMap = "__bpf_usdt_specs"
	// IPMap is a hash from address in memory (8 bytes) to index in SpecsMap (4 bytes). Programs look at it only on
	// kernels that have no attach cookies (before 5.15).
	IPMap = "__bpf_usdt_ip_to_spec_id"
)

const (
	// cookieName is the extern of usdt.bpf.h that libbpf sets to 1 where the kernel has attach cookies.
	cookieName = "LINUX_HAS_BPF_COOKIE"
	// cookieMark stands, between Patch and Fit, in the instructions that load the address of cookieName: "usdtcook".
	cookieMark = 0x75736474636f6f6b
	// cookieMap is the map that Fit adds for them. The name begins like that of other constant data.
	cookieMap = ".rodata.usdt"
)
