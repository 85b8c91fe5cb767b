package scenario

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// startCapture runs `netfate capture ARGS` and returns when it watches.
func startCapture(t *testing.T, args ...string) *watch {
	t.Helper()
	w := &watch{t: t, cmd: exec.Command(os.Getenv(binaryEnv), append([]string{"capture", "--duration", "600s"}, args...)...), done: make(chan error, 1), stderr: &netlab.Lines{}}
	w.cmd.Stderr = w.stderr
	w.done <- nil // it prints no rows
	if err := w.cmd.Start(); err != nil {
		t.Fatalf("start netfate: %v", err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill() })
	w.await()
	return w
}

// shark reads fields of each packet of a capture by tshark; those that come more than
// once are joined by |. It fails on what tshark or capinfos complain about.
func shark(t *testing.T, path string, fields ...string) [][]string {
	t.Helper()
	args := []string{"-r", path, "-n", "-T", "fields", "-E", "separator=/t", "-E", "aggregator=|"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command(need.Tool(t, "tshark"), args...)
	said := &netlab.Lines{}
	cmd.Stderr = said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v: %s", err, said)
	}
	for _, line := range strings.Split(said.String(), "\n") {
		if line != "" && !strings.HasPrefix(line, "Running as user") {
			t.Errorf("tshark says: %s", line)
		}
	}
	if said, err := exec.Command(need.Tool(t, "capinfos"), path).CombinedOutput(); err != nil {
		t.Errorf("capinfos: %v:\n%s", err, said)
	}
	var rows [][]string
	for line := range strings.Lines(string(out)) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows
}

// first returns the first of several values, and "" where there is none: the
// outermost header's.
func first(values ...string) string {
	for _, v := range values {
		if v, _, _ := strings.Cut(v, "|"); v != "" {
			return v
		}
	}
	return ""
}

// seenLoss is what is known of a lost packet, by tshark or by netfate.
type seenLoss struct {
	Interface, Reason, Location, Verdict, Direction, Owner string
	Src, Dst                                               string
}

// asSeen returns the same of one event of netfate drops.
func asSeen(d *record.Drop) seenLoss {
	s := seenLoss{
		Interface: d.NetNSName, Reason: d.Reason, Location: d.Location, Verdict: string(d.Verdict), Direction: string(d.Direction),
		Src: ends(d.SrcAddr.String(), d.SrcPort), Dst: ends(d.DstAddr.String(), d.DstPort),
	}
	if d.IfName != "" {
		s.Interface += "/" + d.IfName
	}
	if !d.SrcAddr.IsValid() {
		s.Src, s.Dst = "", ""
	}
	if d.Known() {
		s.Owner = fmt.Sprintf("%s[%d]", d.Comm, d.PID)
	}
	return s
}

func ends(addr string, port any) string {
	if p := fmt.Sprint(port); p != "0" && p != "" {
		return addr + " " + p
	}
	return addr
}

// TestCaptureDrops plays recipes of several kinds under netfate capture --drops and
// under netfate drops --each: what tshark reads of the capture is what netfate
// shows, packet by packet.
func TestCaptureDrops(t *testing.T) {
	need.Root(t)
	need.Time(t) // on a slow guest one of the two may not have come to know an interface
	wanted := []string{
		"udp_closed_port", "udp6_closed_port", "tcp_closed_port", "loopback_closed_port", "closed_port_behind_extension", "unknown_ethertype",
		"ttl_expired", "no_route", "udp_buffer_full", "cgroup_egress", "vxlan_unknown_vni", "neighbour_queue_full",
	}
	var plays []*play
	for _, r := range Recipes() {
		if slices.Contains(wanted, r.Name) {
			plays = append(plays, &play{Recipe: r, t: t})
		}
	}
	together(4, plays, (*play).setUp)
	path := filepath.Join(t.TempDir(), "lost.pcapng")
	spaces := map[uint32]bool{}
	for _, p := range plays {
		if p.failed != "" {
			t.Fatalf("%s: %s", p.Name, p.failed)
		}
		for _, inode := range p.lab.Inodes() {
			spaces[inode] = true
		}
	}
	var want []seenLoss
	fields := record.Fields(record.Drop{})
	shown := startWatch(t, func(row []byte) error {
		var d record.Drop
		if err := record.ParseJSON(row, fields, &d); err != nil {
			return err
		}
		if spaces[d.NetNS] && d.Sample {
			want = append(want, asSeen(&d))
		}
		return nil
	}, "drops", "--each")
	captured := startCapture(t, "--drops", "--all", "-w", path)
	together(12, plays, (*play).provoke)
	captured.stop()
	shown.stop()

	var got []seenLoss
	for _, f := range shark(t, path, "frame.interface_name", "frame.comment", "frame.packet_flags_direction",
		"ip.src", "ipv6.src", "ip.dst", "ipv6.dst", "udp.srcport", "tcp.srcport", "udp.dstport", "tcp.dstport", "frame.len", "frame.cap_len") {
		if s := sharkedLoss(t, f); strings.HasPrefix(s.Interface, fmt.Sprintf("nf-%d-", os.Getpid())) {
			got = append(got, s)
		}
	}
	order := func(a, b seenLoss) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) }
	slices.SortFunc(want, order)
	slices.SortFunc(got, order)
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("lost packets (-netfate drops +tshark):\n%s", diff)
	}
	if len(want) < 3*len(plays) {
		t.Errorf("got %d lost packets of %d recipes, want more", len(want), len(plays))
	}
	if said := captured.stderr.String(); strings.Contains(said, "missing") {
		t.Errorf("netfate says that it has not written all:\n%s", said)
	}
}

// sharkedLoss reads what tshark says of a packet, its comments included.
func sharkedLoss(t *testing.T, f []string) seenLoss {
	t.Helper()
	m := regexp.MustCompile(`^dropped (.*) at ([^|,]*).*\|verdict (\w+): [^|]*\|(?:fix: [^|]*\|)?(\w+), [^|]*(?:\|owner (\S+\]))?`).FindStringSubmatch(f[1])
	if m == nil {
		t.Fatalf("got comments %q", f[1])
	}
	s := seenLoss{Interface: f[0], Reason: m[1], Location: m[2], Verdict: m[3], Direction: m[4], Owner: m[5]}
	if s.Reason == "without a reason" {
		s.Reason = ""
	}
	flags := map[string]string{"in": "0x00000001", "out": "0x00000002", "forward": "0x00000000"}
	if flags[s.Direction] != f[2] {
		t.Errorf("got flags %s of what goes %s", f[2], s.Direction)
	}
	if src := first(f[3], f[4]); src != "" {
		s.Src = ends(netip.MustParseAddr(src).String(), first(f[7], f[8]))
		s.Dst = ends(netip.MustParseAddr(first(f[5], f[6])).String(), first(f[9], f[10]))
	}
	return s
}

// TestCapturePackets captures traffic of several kinds: tshark finds each packet once, where,
// which way and whose it was, and netfate reads as many from its own file.
func TestCapturePackets(t *testing.T) {
	need.Root(t)
	l := netlab.New(t)
	a, b := pair(l)
	for i, n := range []*netlab.NetNS{a, b} {
		n.IPv6()
		n.Addr("eth0", fmt.Sprintf("fd00::%d/64", i+1))
	}
	a.Neigh("eth0", "fd00::2", b.MAC("eth0"))
	b.Neigh("eth0", "fd00::1", a.MAC("eth0"))
	b.ListenUDP("10.0.0.2:9999")
	b.ListenUDP("[fd00::2]:9999")
	path := filepath.Join(t.TempDir(), "packets.pcapng")
	w := startCapture(t, "-w", path, "--netns", fmt.Sprint(a.Inode), "ip or (ip6 and udp) or vlan")
	a.Datagrams("10.0.0.2:9999", 10, 100)
	a.Datagrams("[fd00::2]:9999", 10, 100)
	a.Datagrams("10.0.0.2:9999", 1, 4000)
	tagged := datagram(4000, 9999).Frame
	tagged.SrcMAC, tagged.DstMAC = a.MAC("eth0"), b.MAC("eth0")
	frame := tagged.Bytes()
	a.Packets("eth0", 0).Send(slices.Concat(frame[:12], []byte{0x81, 0, 0, 7}, frame[12:]))
	out, in := netlab.ConnectTCP(a, b, "10.0.0.2:8080")
	const stream = 300_000
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.Discard, in, stream)
		done <- err
	}()
	_, err := out.Write(make([]byte, stream))
	a.Must("write", err)
	a.Must("read", <-done)
	w.stop()

	self, err := os.ReadFile("/proc/self/comm")
	a.Must("read this process's name", err)
	mine := fmt.Sprintf("owner %s[%d]", strings.TrimSpace(string(self)), os.Getpid())
	got := map[string]int{}
	largest, end := 0, 0
	rows := shark(t, path, "frame.interface_name", "frame.packet_flags_direction", "frame.comment", "frame.len", "frame.cap_len", "vlan.id",
		"ip.flags.mf", "ip.frag_offset", "ip.src", "ipv6.src", "udp.dstport", "tcp.seq", "tcp.len")
	for _, f := range rows {
		if f[0] != a.Name+"/eth0" || f[3] != f[4] {
			t.Errorf("got a packet of %s, %s of %s bytes, want whole ones of %s/eth0", f[0], f[4], f[3], a.Name)
		}
		if f[1] != "0x00000002" {
			continue
		}
		if f[5] == "" && !strings.Contains(f[2], mine) {
			t.Errorf("got comments %q, want %q", f[2], mine)
		}
		n, _ := strconv.Atoi(f[3])
		switch {
		case f[5] != "":
			got["vlan "+f[5]]++
		case f[6] != "" && (f[6] != "0" || f[7] != "0"):
			got["fragments"]++
		case f[12] != "":
			seq, _ := strconv.Atoi(f[11])
			size, _ := strconv.Atoi(f[12])
			end, largest = max(end, seq+size), max(largest, n)
		default:
			got[first(f[8], f[9])+" "+f[3]]++
		}
	}
	want := map[string]int{"10.0.0.1 142": 10, "fd00::1 162": 10, "fragments": 3, "vlan 7": 1}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("packets that were sent (-want +got):\n%s", diff)
	}
	if end != stream+1 || largest <= 1514 {
		t.Errorf("got a stream up to %d with buffers up to %d bytes, want %d, larger ones than a packet", end, largest, stream+1)
	}
	if n := flowPackets(t, path); n != len(rows) {
		t.Errorf("netfate flows -r: got %d packets, tshark %d", n, len(rows))
	}
	if said := w.stderr.String(); !strings.Contains(said, fmt.Sprintf("wrote %d packets\n", len(rows))) {
		t.Errorf("got %d packets, and netfate says:\n%s", len(rows), said)
	}
}

// flowPackets is how many packets netfate counts in a capture.
func flowPackets(t *testing.T, path string) (n int) {
	t.Helper()
	rows, err := exec.Command(os.Getenv(binaryEnv), "flows", "-r", path, "-o", "json").Output()
	if err != nil {
		t.Fatalf("netfate flows -r: %v", err)
	}
	fields := record.Fields(record.Flow{})
	for row := range bytes.Lines(rows) {
		var f record.Flow
		if err := record.ParseJSON(row, fields, &f); err != nil {
			t.Fatal(err)
		}
		n += int(f.PacketsIn + f.PacketsOut)
	}
	return n
}

// TestCaptureEnds ends captures in all ways: what is in the file is whole, and the exit
// code says how.
func TestCaptureEnds(t *testing.T) {
	need.Root(t)
	a, b := pair(netlab.New(t))
	b.ListenUDP("10.0.0.2:9999")
	dir := t.TempDir()
	small := filepath.Join(dir, "small")
	if err := errors.Join(os.Mkdir(small, 0o700), unix.Mount("none", small, "tmpfs", 0, "size=64k")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	r, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	start := func(stdout *os.File, path string, args ...string) *watch {
		w := &watch{t: t, cmd: exec.Command(os.Getenv(binaryEnv), append([]string{"capture", "-w", path, "--netns", fmt.Sprint(a.Inode), "udp port 9999"}, args...)...), stderr: &netlab.Lines{}}
		w.cmd.Stdout, w.cmd.Stderr = stdout, w.stderr
		if err := w.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.cmd.Process.Kill() })
		return w
	}
	path := func(name string) string { return filepath.Join(dir, name+".pcapng") }
	closed, killed, counted := start(pipe, "-"), start(nil, path("killed")), start(nil, path("counted"), "-c", "5")
	full := start(nil, filepath.Join(small, "full.pcapng"))
	for _, w := range []*watch{closed, killed, counted, full} {
		w.await()
	}
	if err := errors.Join(pipe.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	a.Datagrams("10.0.0.2:9999", 100, 1400)
	written := func() bool {
		is, err := os.Stat(path("killed"))
		return err == nil && is.Size() > 100*1400
	}
	if !netlab.Poll(30*time.Second, written) {
		t.Error("nothing was written within 30 s")
	}
	if err := killed.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		w    *watch
		code int
	}{{"a reader that ends", closed, 0}, {"kill -9", killed, -1}, {"-c", counted, 0}, {"a full disk", full, 4}} {
		_ = c.w.cmd.Wait()
		if got := c.w.cmd.ProcessState.ExitCode(); got != c.code {
			t.Errorf("%s: got exit code %d, want %d; it said:\n%s", c.what, got, c.code, c.w.stderr)
		}
	}
	if n := len(shark(t, path("killed"), "frame.len")); n != 100 {
		t.Errorf("kill -9: got %d packets, want 100", n)
	}
	if n := len(shark(t, path("counted"), "frame.len")); n != 5 {
		t.Errorf("-c: got %d packets, want 5", n)
	}
	if n := len(shark(t, filepath.Join(small, "full.pcapng"), "frame.len")); n >= 100 {
		t.Errorf("a full disk: got %d packets, want fewer than 100", n)
	}
	if said := full.stderr.String(); strings.Count(said, "no room on the disk") != 1 {
		t.Errorf("a full disk: got %q", said)
	}
}
