package evidence

import (
	"context"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// loadProgram loads a BPF program of the given type that returns value at once.
func loadProgram(t *testing.T, kind, value uint32) int {
	t.Helper()
	code := []uint64{0xb7 | uint64(value)<<32, 0x95} // r0 = value; exit
	license := []byte("GPL\x00")
	attr := struct {
		kind, count   uint32
		code, license unsafe.Pointer
		_             [14]uint64
	}{kind: kind, count: uint32(len(code)), code: unsafe.Pointer(&code[0]), license: unsafe.Pointer(&license[0])}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, 5 /* BPF_PROG_LOAD */, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(code)
	runtime.KeepAlive(license)
	if errno != 0 {
		t.Fatalf("load program: %v", errno)
	}
	t.Cleanup(func() { unix.Close(int(fd)) })
	return int(fd)
}

func TestPrograms(t *testing.T) {
	ns := namespace(t)
	xdp, cls := loadProgram(t, 6, 2), loadProgram(t, 3, 0)
	inside(t, ns, func() error {
		if err := pair(); err != nil {
			return err
		}
		l, err := netlink.LinkByName("va")
		if err != nil {
			return err
		}
		i := l.Attrs().Index
		return firstError(
			func() error { return netlink.LinkSetXdpFdWithFlags(l, xdp, unix.XDP_FLAGS_SKB_MODE) },
			func() error {
				return netlink.QdiscAdd(&netlink.GenericQdisc{QdiscType: "clsact", QdiscAttrs: netlink.QdiscAttrs{
					LinkIndex: i, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}})
			},
			func() error {
				return netlink.FilterAdd(&netlink.BpfFilter{
					FilterAttrs: netlink.FilterAttrs{LinkIndex: i, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 7},
					Fd:          cls, Name: "mine", DirectAction: true,
				})
			},
		)
	})
	facts := Collect(context.Background(), []string{"programs"}, Subject{NetNSPath: ns, IfName: "va", PID: uint32(os.Getpid())})
	want(t, facts, "XDP on va", "generic", "bpftool prog show id")
	want(t, facts, "tc egress filter on va", "bpf pref 7 mine, program", "")
}
