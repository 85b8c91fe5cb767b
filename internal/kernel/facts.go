package kernel

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Facts are what the running kernel and this process's place in it look like
// from user space. A fact that cannot be read is left at its zero value.
type Facts struct {
	Release      string `json:"release"` // as uname -r
	Machine      string `json:"machine"` // as uname -m
	OnlineCPUs   int    `json:"online_cpus"`
	PossibleCPUs int    `json:"possible_cpus"` // the size of per-CPU map values
	PageSize     int    `json:"page_size"`     // bytes
	HZ           int    `json:"hz"`            // timer ticks a second; 0 if the configuration is not readable

	Mounts Mounts `json:"mounts"`

	// Lockdown is none, integrity or confidentiality; empty if the kernel has
	// no lockdown or if securityfs, which tells, is not mounted.
	Lockdown string `json:"lockdown"`
	// LSMs are the active security modules, as in /sys/kernel/security/lsm.
	LSMs []string `json:"lsms"`

	Process Process `json:"process"`

	// Sysctls, as text; empty if the kernel lacks it.
	UnprivilegedBPFDisabled string `json:"unprivileged_bpf_disabled"`
	KptrRestrict            string `json:"kptr_restrict"`
	BPFJITEnable            string `json:"bpf_jit_enable"`
	PerfEventParanoid       string `json:"perf_event_paranoid"`

	// Config holds the options of the kernel's build that matter here, by name
	// with CONFIG_; an option that is off is n. It is nil if unreadable.
	Config     map[string]string `json:"config"`
	ConfigFrom string            `json:"config_from"` // the file that it was read from
}

// Mounts are where the file systems that BPF needs are mounted, as seen from
// this process; empty if they are not.
type Mounts struct {
	Cgroup2 string `json:"cgroup2"` // /sys/fs/cgroup, or its unified below on a hybrid host
	TraceFS string `json:"tracefs"`
	BPFFS   string `json:"bpffs"`
	// SecurityFS tells of lockdown and of the active security modules.
	SecurityFS string `json:"securityfs"`
}

// Process is what this process may do.
type Process struct {
	UID          int      `json:"uid"`
	Capabilities []string `json:"capabilities"` // those of wanted ones that it has
	Missing      []string `json:"missing"`      // those of wanted ones that it lacks
	Seccomp      string   `json:"seccomp"`      // none, strict or filter
	// UserNamespace is set if the process is root only in a user namespace of
	// its own, as in a rootless container: such capabilities do not count.
	UserNamespace bool `json:"user_namespace"`
	// MemlockLimit is RLIMIT_MEMLOCK in bytes; the greatest number if there is none.
	MemlockLimit uint64 `json:"memlock_limit"`
}

// Has reports whether the process has a capability, CAP_BPF say, or
// CAP_SYS_ADMIN where that stands in for it.
func (p Process) Has(capability string) bool {
	admin := false
	for _, c := range p.Capabilities {
		if c == capability {
			return true
		}
		admin = admin || c == "CAP_SYS_ADMIN"
	}
	return admin && (capability == "CAP_BPF" || capability == "CAP_PERFMON")
}

// ReadFacts reads the facts. It needs no privileges and takes a few ms; the
// kernel's configuration is the longest of it.
func ReadFacts() Facts {
	f := Facts{PageSize: os.Getpagesize()}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err == nil {
		f.Release = unix.ByteSliceToString(uts.Release[:])
		f.Machine = unix.ByteSliceToString(uts.Machine[:])
	}
	f.OnlineCPUs = parseCPUs(readText("/sys/devices/system/cpu/online"))
	f.PossibleCPUs = parseCPUs(readText("/sys/devices/system/cpu/possible"))
	f.Mounts = ReadMounts()
	f.Lockdown = parseLockdown(readText("/sys/kernel/security/lockdown"))
	if lsms := readText("/sys/kernel/security/lsm"); lsms != "" {
		f.LSMs = strings.Split(lsms, ",")
	}
	f.Process = ReadProcess()
	sys := readSysctls()
	f.UnprivilegedBPFDisabled = sys.unprivilegedBPFDisabled
	f.KptrRestrict = sys.kptrRestrict
	f.BPFJITEnable = sys.bpfJITEnable
	f.PerfEventParanoid = sys.perfEventParanoid
	f.Config, f.ConfigFrom = readConfig(f.Release, configOptions())
	f.HZ, _ = strconv.Atoi(f.Config["CONFIG_HZ"])
	return f
}

// ReadMounts reads where the file systems that BPF needs are mounted.
func ReadMounts() Mounts {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Mounts{}
	}
	return parseMounts(b)
}

// ReadProcess reads what this process may do.
func ReadProcess() Process {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		status = nil
	}
	p := parseProcess(status)
	p.UID = os.Geteuid()
	p.UserNamespace = inUserNamespace(readText("/proc/self/uid_map"))
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err == nil {
		p.MemlockLimit = limit.Cur
	}
	return p
}

type sysctls struct {
	unprivilegedBPFDisabled, kptrRestrict, bpfJITEnable, perfEventParanoid string
}

func readSysctls() sysctls {
	return sysctls{
		unprivilegedBPFDisabled: readText("/proc/sys/kernel/unprivileged_bpf_disabled"),
		kptrRestrict:            readText("/proc/sys/kernel/kptr_restrict"),
		bpfJITEnable:            readText("/proc/sys/net/core/bpf_jit_enable"),
		perfEventParanoid:       readText("/proc/sys/kernel/perf_event_paranoid"),
	}
}

// readText returns a small file's contents without space around them, or
// nothing: for facts, unreadable and absent are the same.
func readText(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// parseCPUs counts the CPUs of a list such as "0-3,8,10-11"; 0 if it is none.
func parseCPUs(list string) int {
	n := 0
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil || to < from {
			return 0
		}
		n += int(to-from) + 1
	}
	return n
}

// parseMounts finds the mount points in the format of /proc/self/mountinfo
// (proc_pid_mountinfo(5)). Of many it takes the one where others expect it.
func parseMounts(mountinfo []byte) Mounts {
	var m Mounts
	take := func(dst *string, at string, usual ...string) {
		rank := func(path string) int {
			for i, u := range usual {
				if path == u {
					return i
				}
			}
			return len(usual)
		}
		if *dst == "" || rank(at) < rank(*dst) {
			*dst = at
		}
	}
	for line := range strings.SplitSeq(string(mountinfo), "\n") {
		left, right, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(left), strings.Fields(right)
		if !ok || len(fields) < 6 || len(kind) < 1 {
			continue
		}
		root, at := unescapeMount(fields[3]), unescapeMount(fields[4])
		switch kind[0] {
		case "cgroup2":
			if root == "/" { // else only a part of the tree is mounted there
				take(&m.Cgroup2, at, "/sys/fs/cgroup", "/sys/fs/cgroup/unified")
			}
		case "tracefs":
			take(&m.TraceFS, at, "/sys/kernel/tracing", "/sys/kernel/debug/tracing")
		case "bpf":
			take(&m.BPFFS, at, "/sys/fs/bpf")
		case "securityfs":
			take(&m.SecurityFS, at, "/sys/kernel/security")
		}
	}
	return m
}

// unescapeMount undoes mountinfo's octal escapes of space, tab, newline and \.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// parseLockdown returns the word in brackets of "none [integrity] confidentiality".
func parseLockdown(s string) string {
	_, s, ok := strings.Cut(s, "[")
	if !ok {
		return ""
	}
	mode, _, ok := strings.Cut(s, "]")
	if !ok {
		return ""
	}
	return mode
}

// wanted are the capabilities that matter to netfate, with their numbers in
// linux/capability.h.
func wanted() []struct {
	name string
	bit  uint
} {
	return []struct {
		name string
		bit  uint
	}{
		{"CAP_BPF", unix.CAP_BPF}, {"CAP_PERFMON", unix.CAP_PERFMON}, {"CAP_NET_ADMIN", unix.CAP_NET_ADMIN},
		{"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN}, {"CAP_SYS_PTRACE", unix.CAP_SYS_PTRACE},
		{"CAP_SYS_RESOURCE", unix.CAP_SYS_RESOURCE}, {"CAP_SYSLOG", unix.CAP_SYSLOG},
	}
}

// parseProcess reads capabilities and seccomp mode in the format of
// /proc/self/status.
func parseProcess(status []byte) Process {
	p := Process{Capabilities: []string{}, Missing: []string{}}
	var effective uint64
	for line := range bytes.SplitSeq(status, []byte("\n")) {
		key, value, _ := strings.Cut(string(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "CapEff":
			bits, err := strconv.ParseUint(value, 16, 64)
			if err == nil {
				effective = bits
			}
		case "Seccomp":
			switch value {
			case "0":
				p.Seccomp = "none"
			case "1":
				p.Seccomp = "strict"
			case "2":
				p.Seccomp = "filter"
			}
		}
	}
	for _, w := range wanted() {
		if effective&(1<<w.bit) != 0 {
			p.Capabilities = append(p.Capabilities, w.name)
		} else {
			p.Missing = append(p.Missing, w.name)
		}
	}
	return p
}

// inUserNamespace reports whether a uid_map is other than the initial user
// namespace's, which maps all of the 32 bits onto themselves.
func inUserNamespace(uidMap string) bool {
	f := strings.Fields(uidMap)
	return len(f) != 0 && (len(f) != 3 || f[0] != "0" || f[1] != "0" || f[2] != "4294967295")
}
