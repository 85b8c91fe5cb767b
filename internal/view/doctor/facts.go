package doctor

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/netfate/netfate/internal/kernel"
)

type section struct {
	title string
	facts []fact
}

type fact struct{ name, value string }

// sections puts the facts into words, with a remark on those that hurt.
func sections(f kernel.Facts) []section {
	return []section{
		{"Kernel", []fact{
			{"release", known(strings.TrimSpace(f.Release + " " + f.Machine))},
			{"processors", fmt.Sprintf("%d online, %d possible; pages of %d bytes%s", f.OnlineCPUs, f.PossibleCPUs, f.PageSize, hz(f.HZ))},
			{"build", build(f)},
			{"lockdown", lockdown(f)},
			{"modules", securityModules(f)},
		}},
		{"This process", []fact{
			{"user", user(f.Process)},
			{"has", words(f.Process.Capabilities)},
			{"lacks", lacks(f.Process)},
			{"seccomp", known(f.Process.Seccomp)},
			{"locked memory", memlock(f.Process.MemlockLimit)},
		}},
		{"File systems", []fact{
			{"cgroup2", mounted(f.Mounts.Cgroup2, "mount -t cgroup2 cgroup2 DIRECTORY")},
			{"tracefs", mounted(f.Mounts.TraceFS, "mount -t tracefs tracefs /sys/kernel/tracing")},
			{"bpffs", mounted(f.Mounts.BPFFS, "mount -t bpf bpf /sys/fs/bpf")},
			{"securityfs", mounted(f.Mounts.SecurityFS, "mount -t securityfs securityfs /sys/kernel/security")},
		}},
		{"Settings", []fact{
			{"kernel.kptr_restrict", setting(f.KptrRestrict, map[string]string{
				"0": "addresses are hidden from users without CAP_SYSLOG only if perf is restricted", "1": "addresses are hidden from users without CAP_SYSLOG",
				"2": "addresses are hidden from everybody: drops cannot name places"})},
			{"kernel.unprivileged_bpf_disabled", setting(f.UnprivilegedBPFDisabled, map[string]string{
				"0": "everybody may load some programs", "1": "only privileged processes, until reboot", "2": "only privileged processes"})},
			{"kernel.perf_event_paranoid", setting(f.PerfEventParanoid, nil)},
			{"net.core.bpf_jit_enable", setting(f.BPFJITEnable, map[string]string{
				"0": "programs are interpreted, at several times the cost: sysctl -w net.core.bpf_jit_enable=1", "1": "programs are compiled", "2": "programs are compiled, and printed to the log"})},
		}},
	}
}

func known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func hz(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %d ticks a second", n)
}

func build(f kernel.Facts) string {
	if f.ConfigFrom == "" {
		return "configuration not readable (neither /proc/config.gz nor /boot/config-" + f.Release + ")"
	}
	return "configuration in " + f.ConfigFrom
}

func lockdown(f kernel.Facts) string {
	switch {
	case f.Lockdown == "confidentiality":
		return "confidentiality: programs may not read kernel memory, so netfate cannot work"
	case f.Lockdown == "integrity":
		return "integrity, which does not hinder netfate"
	case f.Lockdown != "":
		return f.Lockdown
	case f.Config["CONFIG_SECURITY_LOCKDOWN_LSM"] == "n":
		return "not built"
	case f.Mounts.SecurityFS == "":
		return "unknown, since securityfs is not mounted"
	}
	return "not active"
}

func securityModules(f kernel.Facts) string {
	if len(f.LSMs) == 0 {
		if f.Mounts.SecurityFS == "" {
			return "unknown, since securityfs is not mounted"
		}
		return "none"
	}
	return strings.Join(f.LSMs, " ")
}

func user(p kernel.Process) string {
	text := "uid " + strconv.Itoa(p.UID)
	if p.UID == 0 {
		text = "root"
	}
	if p.UserNamespace {
		text += " of a user namespace only, which does not count for BPF"
	}
	return text
}

func lacks(p kernel.Process) string {
	if len(p.Missing) == 0 {
		return "nothing that netfate needs"
	}
	return words(p.Missing)
}

func words(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, " ")
}

func memlock(limit uint64) string {
	const unlimited = 1<<64 - 1
	if limit == unlimited {
		return "unlimited"
	}
	return fmt.Sprintf("at most %d kB (counts only where memcg below does not work)", limit>>10)
}

func mounted(at, remedy string) string {
	if at == "" {
		return "not mounted: " + remedy
	}
	return at
}

func setting(value string, meaning map[string]string) string {
	if value == "" {
		return "this kernel has none"
	}
	if text := meaning[value]; text != "" {
		return value + ": " + text
	}
	return value
}
