package kernel

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseCPUs(t *testing.T) {
	f := func(list string, want int) {
		t.Helper()
		if got := parseCPUs(list); got != want {
			t.Errorf("%q: got %d, want %d", list, got, want)
		}
	}
	f("0", 1)
	f("0-1\n", 2)
	f("0-3,8,10-11", 7)
	f("", 0)
	f("3-1", 0)
	f("0-", 0)
	f("x", 0)
	f("0-99999999", 0)
}

func TestParseMounts(t *testing.T) {
	const unified = `31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
34 23 0:7 / /sys/kernel/security rw shared:4 - securityfs securityfs rw
35 23 0:29 / /sys/fs/bpf rw,nosuid shared:10 - bpf none rw,mode=700
40 23 0:12 / /sys/kernel/tracing rw shared:15 - tracefs tracefs rw
41 23 0:12 / /sys/kernel/debug/tracing rw shared:15 master:3 - tracefs tracefs rw`
	const hybrid = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
38 31 0:31 / /run/other\040one rw - cgroup2 cgroup2 rw
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 31 0:12 / /sys/kernel/debug/tracing rw - tracefs none rw`
	f := func(name, mountinfo string, want Mounts) {
		t.Helper()
		if diff := cmp.Diff(want, parseMounts([]byte(mountinfo))); diff != "" {
			t.Errorf("%s: got + want -\n%s", name, diff)
		}
	}
	f("unified", unified, Mounts{Cgroup2: "/sys/fs/cgroup", TraceFS: "/sys/kernel/tracing", BPFFS: "/sys/fs/bpf", SecurityFS: "/sys/kernel/security"})
	f("hybrid", hybrid, Mounts{Cgroup2: "/sys/fs/cgroup/unified", TraceFS: "/sys/kernel/debug/tracing"})
	f("escaped", `1 2 0:1 / /mnt/a\040b\134c rw - bpf bpf rw`, Mounts{BPFFS: `/mnt/a b\c`})
	f("part of the tree", `1 2 0:1 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw`, Mounts{})
	f("none", "", Mounts{})
	f("broken", "1 2\n - cgroup2\n1 2 3 4 5 6 -\n", Mounts{})
}

func FuzzParseMounts(f *testing.F) {
	f.Add([]byte("31 23 0:28 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n"))
	f.Add([]byte(`1 2 0:1 / /mnt/a\040b rw - bpf bpf rw`))
	f.Fuzz(func(t *testing.T, b []byte) { parseMounts(b) })
}

func TestParseLockdown(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := parseLockdown(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	f("[none] integrity confidentiality", "none")
	f("none [integrity] confidentiality\n", "integrity")
	f("none integrity [confidentiality]", "confidentiality")
	f("", "")
	f("[none", "")
}

func TestParseProcess(t *testing.T) {
	root := parseProcess([]byte("Name:\tnetfate\nCapEff:\t000001fffeffffff\nNoNewPrivs:\t0\nSeccomp:\t0\n"))
	if diff := cmp.Diff([]string{"CAP_SYS_RESOURCE"}, root.Missing); diff != "" || root.Seccomp != "none" {
		t.Errorf("root: got %+v, want all but CAP_SYS_RESOURCE and no seccomp", root)
	}
	user := parseProcess([]byte("CapEff:\t0000000000000000\nSeccomp:\t2\n"))
	if len(user.Capabilities) != 0 || user.Seccomp != "filter" || user.Has("CAP_BPF") {
		t.Errorf("user: got %+v, want nothing and a filter", user)
	}
	admin := parseProcess([]byte("CapEff:\t0000000000200000\n")) // CAP_SYS_ADMIN, the way of before 5.8
	if !admin.Has("CAP_BPF") || !admin.Has("CAP_PERFMON") || admin.Has("CAP_NET_ADMIN") {
		t.Errorf("admin: got %+v, want it to stand in for CAP_BPF and CAP_PERFMON only", admin)
	}
	if p := parseProcess([]byte("CapEff:\tx\n")); len(p.Capabilities) != 0 {
		t.Errorf("broken: got %+v, want nothing", p)
	}
}

func TestInUserNamespace(t *testing.T) {
	f := func(uidMap string, want bool) {
		t.Helper()
		if got := inUserNamespace(uidMap); got != want {
			t.Errorf("%q: got %v, want %v", uidMap, got, want)
		}
	}
	f("         0          0 4294967295", false)
	f("         0       1000          1", true)
	f("0 0 65536", true)
	f("0 1000 1\n1 100000 65536", true)
	f("", false)
}

func TestParseConfig(t *testing.T) {
	got, err := parseConfig(strings.NewReader("# Linux\nCONFIG_HZ=250\nCONFIG_BPF_JIT=y\n# CONFIG_KPROBES is not set\nCONFIG_NET_CLS_BPF=m\nCONFIG_OTHER=y\n"), configOptions())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(configOptions()) {
		t.Errorf("got %d options, want all %d", len(got), len(configOptions()))
	}
	for name, want := range map[string]string{"CONFIG_HZ": "250", "CONFIG_BPF_JIT": "y", "CONFIG_KPROBES": "n", "CONFIG_NET_CLS_BPF": "m", "CONFIG_FPROBE": "n"} {
		if got[name] != want {
			t.Errorf("%s: got %q, want %q", name, got[name], want)
		}
	}
	if got, err := parseConfig(strings.NewReader("nonsense"), configOptions()); got != nil || err != nil {
		t.Errorf("got %v, %v; want nothing", got, err)
	}
}

func TestReadFacts(t *testing.T) {
	f := ReadFacts()
	t.Logf("%+v", f)
	if f.Release == "" || f.OnlineCPUs < 1 || f.PossibleCPUs < f.OnlineCPUs || f.PageSize != os.Getpagesize() {
		t.Errorf("got %+v, want a release, CPUs and pages", f)
	}
	if f.Process.UID != os.Geteuid() || f.Process.MemlockLimit == 0 && os.Geteuid() == 0 {
		t.Errorf("got %+v", f.Process)
	}
}
