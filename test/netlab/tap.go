package netlab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tap is an Ethernet interface of a namespace whose far end is this program:
// what it writes arrives there as if from a wire, and what the namespace
// sends can be read. No second network stack answers, drops or counts.
type Tap struct {
	// MAC is the interface's address, PeerMAC the one that the program pretends
	// to have.
	MAC, PeerMAC net.HardwareAddr

	tb   TB
	file *os.File
	name string
}

// Tap makes a tap interface and brings it up.
func (n *NetNS) Tap(ifname string) *Tap {
	n.tb.Helper()
	t := &Tap{tb: n.tb, name: n.Short + "/" + ifname, PeerMAC: net.HardwareAddr{0x02, 0, 0, 0, 0, 0x01}}
	n.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		var request struct { // struct ifreq
			name  [unix.IFNAMSIZ]byte
			flags uint16
			_     [22]byte
		}
		copy(request.name[:unix.IFNAMSIZ-1], ifname)
		request.flags = unix.IFF_TAP | unix.IFF_NO_PI
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&request)))
		if errno != 0 {
			unix.Close(fd)
			return fmt.Errorf("make tap %s: %w", ifname, errno)
		}
		// Only now: a tun file that has no interface yet cannot be polled.
		t.file = os.NewFile(uintptr(fd), "tap "+ifname)
		return nil
	})
	n.tb.Cleanup(func() { t.file.Close() })
	n.Up(ifname)
	t.MAC = n.MAC(ifname)
	return t
}

// Send writes one frame: the namespace receives it. It has been through the
// network stack when Send returns, but for what waits for a softirq.
func (t *Tap) Send(frame []byte) {
	t.tb.Helper()
	if _, err := t.file.Write(frame); err != nil {
		t.tb.Fatalf("send on %s: %v", t.name, err)
	}
}

// Frame sends a frame with the tap's addresses filled in.
func (t *Tap) Frame(f Frame) {
	t.tb.Helper()
	t.Send(t.Address(f).Bytes())
}

// Address fills in the hardware addresses that the frame has not.
func (t *Tap) Address(f Frame) Frame {
	if f.DstMAC == nil {
		f.DstMAC = t.MAC
	}
	if f.SrcMAC == nil {
		f.SrcMAC = t.PeerMAC
	}
	return f
}

// Next returns the next frame that the namespace sends and that want accepts,
// parsed; others are thrown away. It fails after ten seconds.
func (t *Tap) Next(what string, want func(Frame) bool) Frame {
	t.tb.Helper()
	if err := t.file.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.tb.Fatalf("set deadline on %s: %v", t.name, err)
	}
	buffer := make([]byte, 65536)
	for {
		size, err := t.file.Read(buffer)
		if err != nil {
			t.tb.Fatalf("wait for %s on %s: %v", what, t.name, err)
		}
		if f, ok := ParseFrame(buffer[:size]); ok && want(f) {
			f.Payload = append([]byte(nil), f.Payload...)
			return f
		}
	}
}

// Read returns the next frame that the namespace sends, nil if none comes in
// time.
func (t *Tap) Read(atMost time.Duration) []byte {
	t.tb.Helper()
	if err := t.file.SetReadDeadline(time.Now().Add(atMost)); err != nil {
		t.tb.Fatalf("set deadline on %s: %v", t.name, err)
	}
	buffer := make([]byte, 65536)
	size, err := t.file.Read(buffer)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.tb.Fatalf("read %s: %v", t.name, err)
	}
	if err != nil {
		return nil
	}
	return buffer[:size]
}

// Close closes the program's end; frames that nobody read are freed.
func (t *Tap) Close() { t.file.Close() }
