package scenario

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
)

// startCapture runs `netfate capture ARGS` and returns when it watches.
func startCapture(t *testing.T, args ...string) *watch {
	t.Helper()
	w := &watch{t: t, cmd: exec.Command(os.Getenv(binaryEnv), append([]string{"capture", "--duration", "600s"}, args...)...), done: make(chan error, 1), stderr: &lines{}}
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
	said := &lines{}
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
