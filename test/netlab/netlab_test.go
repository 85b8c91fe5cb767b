package netlab

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/need"
)

func TestLabGoesAway(t *testing.T) {
	need.Root(t)
	var names []string
	err := Run(func(tb TB) {
		l := New(tb)
		a, b := l.NetNS("a"), l.NetNS("b")
		l.Veth(a, "eth0", b, "eth0")
		names = append(names, a.Path(), b.Path())
		for _, n := range []*NetNS{a, b} {
			if st, err := os.Stat(n.Path()); err != nil || st.Sys() == nil {
				t.Errorf("got %v for %s, want a namespace", err, n.Path())
			}
		}
		tb.Fatalf("enough")
	})
	if err == nil || err.Error() != "enough" {
		t.Errorf("got error %v, want what Fatalf said", err)
	}
	for _, name := range names {
		if _, err := os.Stat(name); !os.IsNotExist(err) {
			t.Errorf("got %v for %s after the lab, want nothing there", err, name)
		}
	}
}

// TestSignalCleansUp plays a program that is asked to end while it measures.
func TestSignalCleansUp(t *testing.T) {
	need.Root(t)
	if os.Getenv("NETLAB_RUNS") != "" {
		_ = RunInterruptible(func(tb TB) {
			fmt.Println(New(tb).NetNS("a").Path())
			select {}
		})
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", "TestSignalCleansUp")
	cmd.Env = append(os.Environ(), "NETLAB_RUNS=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	path, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	path = strings.TrimSuffix(path, "\n")
	if _, err := os.Stat(path); err != nil {
		t.Errorf("while it runs: %v", err)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 128+int(unix.SIGTERM) {
		t.Errorf("got %v, want exit code %d", cmd.ProcessState, 128+int(unix.SIGTERM))
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("got %v for %s after SIGTERM, want nothing there", err, path)
	}
}

func TestPanicCleansUp(t *testing.T) {
	need.Root(t)
	var path string
	func() {
		defer func() {
			if got := recover(); got != "oops" {
				t.Errorf("got panic %v, want oops", got)
			}
		}()
		_ = Run(func(tb TB) {
			n := New(tb).NetNS("a")
			path = n.Path()
			n.Do(func() error { panic("oops") })
		})
	}()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("got %v for %s after a panic, want nothing there", err, path)
	}
}

func TestSweep(t *testing.T) {
	need.Root(t)
	// A child that has ended leaves a process number that nobody has.
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("nf-%d-1-stale", cmd.Process.Pid)
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	err = onThread(home, func() error {
		handle, err := netns.NewNamed(name)
		if err == nil {
			handle.Close()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	New(t)
	if _, err := os.Stat("/run/netns/" + name); !os.IsNotExist(err) {
		t.Errorf("got %v for a dead process's namespace, want it swept away", err)
	}
}

func TestThreadComesHome(t *testing.T) {
	need.Root(t)
	l := New(t)
	n := l.NetNS("a")
	home, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	inside := strings.TrimSpace(n.Exec("readlink", "/proc/self/ns/net"))
	if want := fmt.Sprintf("net:[%d]", n.Inode); inside != want {
		t.Errorf("got %s inside, want %s", inside, want)
	}
	for range 20 {
		n.Do(func() error { return nil })
		now, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil || now != home {
			t.Fatalf("got %s, %v after a visit, want %s", now, err, home)
		}
	}
	if out := n.Exec("ls", "/sys/fs/bpf", "/sys/kernel"); !strings.Contains(out, "tracing") {
		t.Errorf("got %q, want the host's mounts inside", out)
	}
}

func TestTapAndFrames(t *testing.T) {
	need.Root(t)
	n := New(t).NetNS("host")
	tap := n.Tap("eth0")
	n.Addr("eth0", "10.0.0.2/24")
	n.Neigh("eth0", "10.0.0.1", tap.PeerMAC)
	sink := n.ListenUDP("10.0.0.2:53")
	sent := Frame{
		Src: netip.MustParseAddrPort("10.0.0.1:4000"), Dst: netip.MustParseAddrPort("10.0.0.2:53"),
		Proto: ProtoUDP, Payload: []byte("question"), Options: []byte{1, 1, 1, 1},
	}
	tap.Frame(sent)
	buffer := make([]byte, 100)
	size, from, err := sink.ReadFromUDPAddrPort(buffer)
	if err != nil || string(buffer[:size]) != "question" || from != sent.Src {
		t.Fatalf("got %q from %v, %v, want what was sent", buffer[:size], from, err)
	}
	if _, err := sink.WriteToUDPAddrPort([]byte("answer"), from); err != nil {
		t.Fatal(err)
	}
	got := tap.Next("answer", func(f Frame) bool { return f.Proto == ProtoUDP })
	if string(got.Payload) != "answer" || got.Dst != sent.Src {
		t.Errorf("got %q to %v, want the answer to %v", got.Payload, got.Dst, sent.Src)
	}
	if got := n.Counter("Udp", "InCsumErrors") + n.Counter("Ip", "InHdrErrors"); got != 0 {
		t.Errorf("got %d checksum and header errors, want none", got)
	}
}

func TestFrameRoundTrip(t *testing.T) {
	f := func(frame Frame) {
		t.Helper()
		got, ok := ParseFrame(frame.Bytes())
		if !ok {
			t.Fatalf("got no frame from %x", frame.Bytes())
		}
		want := frame
		want.TTL, got.EtherType = frame.ttl(), 0
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("frame changed on the way (-want +got):\n%s", diff)
		}
	}
	mac := func(b byte) []byte { return []byte{2, 0, 0, 0, 0, b} }
	four, six := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("[fd00::1]:1")
	f(Frame{SrcMAC: mac(1), DstMAC: mac(2), Src: four, Dst: four, Proto: ProtoUDP, Payload: []byte("x")})
	f(Frame{SrcMAC: mac(1), DstMAC: mac(2), Src: six, Dst: six, Proto: ProtoUDP, Payload: []byte("odd")})
	f(Frame{SrcMAC: mac(1), DstMAC: mac(2), Src: four, Dst: four, Proto: ProtoTCP, Seq: 7, Ack: 8, Flags: SYN | ACK, Window: 9,
		TCPOptions: []byte{1, 1, 1, 0}, Payload: []byte("data")})
}

func TestChecksum(t *testing.T) {
	// The example of RFC 1071 section 3.
	if got, want := Checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}), ^uint16(0xddf2); got != want {
		t.Errorf("got %#x, want %#x", got, want)
	}
	if got := Checksum([]byte{0xff}); got != 0x00ff {
		t.Errorf("got %#x for an odd length, want 0x00ff", got)
	}
}

func TestCaptureAndOffloads(t *testing.T) {
	need.Root(t)
	l := New(t)
	a, b := l.NetNS("a"), l.NetNS("b")
	l.Veth(a, "eth0", b, "eth0")
	a.Addr("eth0", "10.0.0.1/24")
	b.Addr("eth0", "10.0.0.2/24")
	a.Neigh("eth0", "10.0.0.2", b.MAC("eth0"))
	b.Neigh("eth0", "10.0.0.1", a.MAC("eth0"))
	a.Offloads("eth0", false)
	b.Offloads("eth0", false)
	b.ListenUDP("10.0.0.2:9")
	capture := b.Capture("eth0")
	a.Datagrams("10.0.0.2:9", 3, 100)
	WaitFor(t, "three datagrams", func() bool { return b.Link("eth0").Attrs().Statistics.RxPackets == 3 })
	capture.Stop()
	want := []uint64{3, 3 * 142, 0, 0, 0}
	got := []uint64{capture.PacketsIn, capture.BytesIn, capture.PacketsOut, capture.BytesOut, capture.Lost}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	if got := l.Inodes()["b"]; got != b.Inode {
		t.Errorf("got inode %d, want %d", got, b.Inode)
	}
	s := a.Packets("eth0", 0)
	s.Send(make([]byte, 60))
	if _, err := unix.Write(s.FD, make([]byte, 60)); err != nil {
		t.Error(err)
	}
}
