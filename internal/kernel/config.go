package kernel

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxConfig bounds how much of a kernel configuration is read; one has 0.3 MB.
const maxConfig = 4 << 20

// configOptions are the options of the kernel's build that explain why
// something does not work here.
func configOptions() []string {
	return []string{
		"CONFIG_BPF_EVENTS", "CONFIG_BPF_JIT", "CONFIG_BPF_LSM", "CONFIG_BPF_STREAM_PARSER", "CONFIG_BPF_SYSCALL",
		"CONFIG_CGROUP_BPF", "CONFIG_DEBUG_INFO_BTF", "CONFIG_DEBUG_INFO_BTF_MODULES", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS",
		"CONFIG_FPROBE", "CONFIG_FTRACE_SYSCALLS", "CONFIG_FUNCTION_TRACER", "CONFIG_HZ", "CONFIG_KALLSYMS", "CONFIG_KPROBES",
		"CONFIG_KPROBE_EVENTS", "CONFIG_MODULES", "CONFIG_NETFILTER_BPF_LINK", "CONFIG_NET_CLS_ACT", "CONFIG_NET_CLS_BPF", "CONFIG_NET_SCH_INGRESS",
		"CONFIG_NET_XGRESS", "CONFIG_SECURITY_LOCKDOWN_LSM", "CONFIG_UPROBES", "CONFIG_UPROBE_EVENTS", "CONFIG_XDP_SOCKETS",
	}
}

// readConfig reads the running kernel's configuration from where
// distributions keep it. Both results are empty if it is nowhere.
func readConfig(release string, options []string) (map[string]string, string) {
	for _, path := range []string{"/proc/config.gz", "/boot/config-" + release, "/lib/modules/" + release + "/config", "/usr/lib/modules/" + release + "/config"} {
		config, err := readConfigFile(path, options)
		if err == nil && len(config) > 0 {
			return config, path
		}
	}
	return nil, ""
}

func readConfigFile(path string, options []string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	}
	return parseConfig(r, options)
}

// BuiltWithout reports whether the running kernel was built without an option,
// CONFIG_KPROBES. It is false if the configuration is not readable.
func BuiltWithout(option string) bool {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return false
	}
	config, _ := readConfig(unix.ByteSliceToString(uts.Release[:]), []string{option})
	return config[option] == "n"
}

// parseConfig returns those options that a kernel configuration
// mentions. If it is one, those that it does not are n: an option whose
// dependencies are off is not even mentioned.
func parseConfig(r io.Reader, options []string) (map[string]string, error) {
	want := make(map[string]bool)
	for _, o := range options {
		want[o] = true
	}
	config := make(map[string]string)
	isConfig := false
	in := bufio.NewScanner(io.LimitReader(r, maxConfig))
	for in.Scan() {
		line := strings.TrimSpace(in.Text())
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			continue // "# CONFIG_X is not set" among them
		}
		isConfig = isConfig || strings.HasPrefix(name, "CONFIG_")
		if want[name] {
			config[name] = strings.Trim(value, `"`)
		}
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	if !isConfig {
		return nil, nil
	}
	for name := range want {
		if _, ok := config[name]; !ok {
			config[name] = "n"
		}
	}
	return config, nil
}
