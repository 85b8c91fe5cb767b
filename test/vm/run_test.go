package vm

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/netfate/netfate/test/need"
)

// qemu stands for QEMU. It writes down what it was started with, and acts as a
// guest that boots, unless KVM is to hang or to crash. Without a probe's word
// it goes on as a guest whose command succeeds.
const qemu = `#!/bin/bash
for word; do
	case $word in
	kvm|tcg*) accel=${word%%,*} ;;
	file:*) console=${word#file:} ;;
	local,*mount_tag=run,*) run=${word#local,path=} run=${run%%,*} ;;
	esac
done
probe=
[[ $* != *vm_probe=1* ]] || probe=' probe'
echo "$accel$probe" >>"$QEMU_LOG"
case $accel$QEMU_KVM in
kvmhang) exec sleep 60 ;;
kvmcrash) exit 1 ;;
esac
if [[ $probe ]]; then echo '[    1.0] test/vm: the root is mounted' >>"$console"; else echo 0 >"$run/status"; fi
`

// host is a machine with stubs in place of all that run needs.
type host struct{ dir, series, device string }

func newHost(t *testing.T, series string) host {
	t.Helper()
	h := host{dir: t.TempDir(), series: series}
	h.device = h.file(t, "kvm", "", 0o600)
	for _, name := range []string{"busybox", "cpio", "depmod", "xz"} {
		h.file(t, "bin/"+name, "#!/bin/sh\ncat\n", 0o755)
	}
	h.file(t, "bin/qemu-system-x86_64", qemu, 0o755)
	h.file(t, "bin/qemu-system-aarch64", qemu, 0o755)
	h.file(t, "cache/"+h.series+"/initramfs", "", 0o600) // as if fetched
	return h
}

func (h host) file(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	name = filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return name
}

// run runs a command on h and returns the guests that QEMU was started for.
func (h host) run(t *testing.T, env ...string) string {
	t.Helper()
	log := h.file(t, "log", "", 0o600)
	cmd := exec.CommandContext(t.Context(), "./run", h.series, "true")
	cmd.Env = append(os.Environ(), "PATH="+h.dir+"/bin:"+os.Getenv("PATH"), "QEMU_LOG="+log,
		"NETFATE_VM_CACHE="+h.dir+"/cache", "NETFATE_VM_KVM_DEVICE="+h.device, "NETFATE_VM_ACCEL=")
	cmd.Env = append(cmd.Env, env...)
	if os.Geteuid() != 0 { // run wants root, and is content with a name of it
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		need.Root(t) // without user namespaces
	}
	if err != nil {
		t.Fatalf("run %v: %v\n%s", env, err, out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Split(strings.TrimSpace(string(text)), "\n"), ", ")
}

func TestAccel(t *testing.T) {
	need.Machine(t, "amd64") // KVM runs guests of its own architecture
	t.Parallel()
	tests := []struct {
		name string
		env  []string
		want []string // of the first run, the second, …
	}{
		{"works", nil, []string{"kvm probe, kvm", "kvm"}},
		{"hangs", []string{"QEMU_KVM=hang", "NETFATE_VM_KVM_SECONDS=1"}, []string{"kvm probe, tcg", "tcg"}},
		{"crashes", []string{"QEMU_KVM=crash"}, []string{"kvm probe, tcg", "tcg"}},
		{"is not wanted", []string{"NETFATE_VM_ACCEL=tcg"}, []string{"tcg"}},
		{"is forced", []string{"NETFATE_VM_ACCEL=kvm", "NETFATE_VM_KVM_DEVICE=/nowhere/kvm"}, []string{"kvm"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, "6.12")
			for i, want := range test.want {
				if got := h.run(t, test.env...); got != want {
					t.Errorf("run %d: got %q, want %q", i+1, got, want)
				}
			}
		})
	}
}

func TestAccelWithoutDevice(t *testing.T) {
	t.Parallel()
	h := newHost(t, "6.12")
	if err := os.Remove(h.device); err != nil {
		t.Fatal(err)
	}
	if got, want := h.run(t), "tcg"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := os.Stat(h.device); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the device after the run: got error %v, want %v", err, os.ErrNotExist)
	}
}

// After a boot of the host KVM is tried again.
func TestAccelAfterBoot(t *testing.T) {
	need.Machine(t, "amd64") // KVM runs guests of its own architecture
	t.Parallel()
	h := newHost(t, "6.12")
	h.file(t, "cache/accel", "00000000-0000-0000-0000-000000000000 tcg\n", 0o600)
	if got, want := h.run(t), "kvm probe, kvm"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A guest of another architecture is not tried with KVM.
func TestAccelForeign(t *testing.T) {
	need.Machine(t, "amd64")
	t.Parallel()
	h := newHost(t, "6.12-arm64")
	if got, want := h.run(t), "tcg"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
