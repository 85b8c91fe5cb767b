package main

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
)

// shift is a host with something of every kind, a name that would steer the terminal
// among them.
func shift() []record.Batch {
	batches := night()
	for i := range batches {
		b := &batches[i]
		reader := record.Owner{PID: 4242, Comm: "slow\x1b[2J\x1b]0;own"}
		in := record.Endpoints{
			Time: b.End, Host: "web1", NetNS: 4026532100, NetNSName: "app", IfName: "eth0", Proto: "udp",
			SrcAddr: netip.MustParseAddr("10.1.0.2"), SrcPort: 52334, DstAddr: netip.MustParseAddr("10.2.0.2"), DstPort: 5004, Owner: reader,
		}
		b.Drops = append(b.Drops,
			record.Drop{
				Endpoints: in, Reason: "SOCKET_RCVBUFF", Subsystem: "core", Location: "udp_queue_rcv_one_skb+0x40a", Verdict: record.Resource,
				Packets: uint64(100 + i), Bytes: 120000, Buffers: uint64(100 + i), Direction: record.In,
			},
			record.Drop{
				Endpoints: in, Reason: "NEIGH_FAILED", Subsystem: "core", Location: "neigh_invalidate+0x87", Verdict: record.Loss,
				Packets: 7, Bytes: 700, Buffers: 7, Direction: record.Out,
			})
		out := in
		out.Proto, out.Owner = "tcp", record.Owner{PID: 77, Comm: "curl"}
		b.Requests = append(b.Requests,
			record.Request{Endpoints: out, Start: b.Start, Protocol: "http/1.1", Method: "GET", HostName: "shop.example.com", Path: "/users/42", Status: 200, LatencyMicros: 12000, ResponseBytes: 5000},
			record.Request{Endpoints: out, Start: b.Start, Protocol: "http/1.1", Method: "POST", HostName: "shop.example.com", Path: "/orders", Status: 503, LatencyMicros: 2_500_000})
		b.Conns = append(b.Conns,
			record.Conn{Endpoints: out, Event: record.ConnOpen, State: "established", Side: record.Client, Start: b.Start, RTTMicros: 900, BytesIn: uint64(i) * 125000, BytesOut: 1000},
			record.Conn{Endpoints: out, Event: record.ConnListens, State: "listen", Backlog: 3, BacklogMax: 128})
		b.Queries = append(b.Queries, record.Query{Endpoints: in, Protocol: "dns", QName: "gone.example.com", QType: "A", RCode: "NXDOMAIN", LatencyMicros: 1400, Server: "10.0.0.53"})
	}
	return batches
}

// recorded writes a recording of it.
func recorded(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "shift.nfr")
	if err := writeRecording(path, shift()); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	escape = "\x1b"
	down   = "\x1b[B"
	enter  = "\r"
)

// Every tab, at two sizes, and what a loss opens.
func TestTopScreens(t *testing.T) {
	t.Parallel()
	for _, size := range []struct {
		name          string
		width, height int
	}{{"80x24", 80, 24}, {"160x50", 160, 50}} {
		t.Run(size.name, func(t *testing.T) {
			t.Parallel()
			x := runIn(t, size.width, size.height, nil, "top", "-r", recorded(t))
			at := func(name string) string { return name + "-" + size.name }
			x.golden(at("overview"), "overview on web1", "NETFILTER_DROP")
			for _, tab := range []struct{ key, name, shows string }{
				{"2", "drops", "drops on web1"}, {"3", "flows", "flows by flow"}, {"4", "conns", "open connections"},
				{"5", "requests", "requests by path"}, {"6", "dns", "queries by name"}, {"7", "ledger", "[losses]"},
			} {
				x.Keys(tab.key)
				x.golden(at(tab.name), tab.shows)
			}
			x.Keys("2" + down)
			x.Shows("row 2 of 3")
			x.Keys(enter)
			x.golden(at("row"), "drops, one row", "Esc back")
			x.Keys("?")
			x.golden(at("explain"), "explain SOCKET_RCVBUFF", "What happened")
			x.Keys("qqq")
			if code := x.Ends(); code != 0 {
				t.Errorf("got exit code %d, want 0", code)
			}
		})
	}
}

// What ? shows of a loss is what `netfate explain` prints of it.
func TestTopExplainsAsExplain(t *testing.T) {
	t.Parallel()
	path := recorded(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "explain", "-r", path)
	cmd.Args[0] = "netfate"
	said, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	entry, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n\n\n")
	x := runIn(t, 82, 120, nil, "top", "-r", path)
	x.Shows("NEIGH_FAILED")
	x.Keys("2")
	x.Shows("row 1 of 3")
	x.Keys("?")
	screen := x.Shows("Put it right")
	for _, line := range strings.Split(entry, "\n")[1:] {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "== ") {
			break // the next loss
		}
		if !strings.Contains(screen, line) {
			t.Errorf("%q is missing on the screen:\n%s", line, screen)
		}
	}
}

// Each key does what help says.
func TestTopKeys(t *testing.T) {
	t.Parallel()
	x := runIn(t, 100, 24, nil, "top", "-r", recorded(t))
	x.Shows("overview on web1", "NETFILTER_DROP")

	x.Keys("h")
	x.golden("help-100x24", "the tabs; also Tab")
	x.Keys("?") // help is open already: one page is enough
	x.Keys(escape)
	x.Shows("overview on web1")
	x.Keys("\t")
	x.Shows("drops on web1")
	x.Keys("\x1b[Z\x1b[Z") // back over the first to the last
	x.Shows("ledger of web1")
	x.Keys("\x1b[D") // left
	x.Shows("queries by name")
	x.Keys("\x1b[C")
	x.Shows("ledger of web1")

	// Views, both ways.
	x.Keys("g")
	x.Shows("[namespaces]")
	x.Keys("g")
	x.Shows("[bars]", "came    ")
	x.Keys("/unexpl" + enter)
	x.Shows("only unexpl")
	x.Lacks("came    ")
	x.Keys(escape)
	x.Shows("came    ")
	x.Keys("GG")
	x.Shows("[losses]")
	x.Keys("G")
	x.Shows("[layers]")

	// Benign drops.
	x.Keys("2")
	x.Shows("row 1 of 3", "hidden: 3 packets")
	x.Keys("a")
	x.Shows("row 1 of 4", "OFOMERGE")
	x.Keys("a")
	x.Lacks("OFOMERGE")

	// Sorting: verdict, packets, and round.
	x.Keys("s")
	x.Shows("VERDICT↑", "sorted by verdict")
	x.Keys("s")
	first := func(want string) {
		t.Helper()
		x.Until(want+" in the first row", func(screen string) bool {
			return strings.Contains(strings.Split(screen, "\n")[3], want)
		})
	}
	x.Shows("PACKETS↓")
	first("SOCKET_RCVBUFF")
	x.Keys("r")
	x.Shows("PACKETS↑")
	first("NETFILTER_DROP")
	x.Keys("SS")
	x.Lacks("sorted by")
	first("NEIGH_FAILED")

	// Filter, as it is typed.
	x.Keys("/sock")
	x.Shows("/sock", "row 1 of 1", "only sock")
	x.Lacks("NEIGH_FAILED")
	x.Keys("\x7f\x7f\x7f\x7fnothing")
	x.Shows("no row has nothing in it; Esc shows all")
	x.Keys(escape)
	x.Shows("row 1 of 3")

	// The cursor.
	x.Keys("j")
	x.Shows("row 2 of 3")
	x.Keys("k")
	x.Shows("row 1 of 3")
	x.Keys("\x1b[F")
	x.Shows("row 3 of 3")
	x.Keys("\x1b[H")
	x.Shows("row 1 of 3")
	x.Keys("\x1b[6~")
	x.Shows("row 3 of 3")
	x.Keys("\x1b[5~")
	x.Shows("row 1 of 3")

	// What was lost of the recording.
	x.Keys("l")
	x.Shows("what netfate could not keep", "6 at drops (ring full): not shown one by one")
	x.Keys("q")
	x.Shows("drops on web1")

	// The mouse: a row, then what is behind it; the tabs; the wheel.
	x.Keys("m\x1b[<0;5;5M\x1b[<0;5;5m")
	x.Shows("row 2 of 3")
	x.Keys("\x1b[<0;5;5M")
	x.Shows("drops, one row")
	x.Keys(escape + "\x1b[<0;26;1M")
	x.Shows("flows by flow")
	x.Keys("\x1b[<65;5;5M")
	x.Shows("row 4 of 12")
	x.Keys("m")

	// Resizing.
	x.Resize(60, 16)
	x.golden("flows-60x16", "flows by flow", "row 4 of 12")
	x.Resize(160, 50)
	x.Shows("INTERFACE")
	x.Resize(20, 5)
	x.Until("a tiny screen", func(screen string) bool { return !strings.Contains(screen, "INTERFACE") })
	x.Resize(80, 24)
	x.Shows("row 4 of 12")
	x.Keys("\x03")
	if code := x.Ends(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
}

// A recording is shown whole, then step by step.
func TestTopSteps(t *testing.T) {
	t.Parallel()
	x := runIn(t, 80, 24, nil, "-r", recorded(t))
	x.Shows("rates over 3 s", "b beginning")
	x.Keys("2")
	x.Shows("9  ", "since 03:00:00 UTC (3 s)")
	x.Keys("b")
	x.Shows("STOPPED", "since 03:00:00 UTC (1 s)", "rates over the last 1 s")
	x.Keys("n")
	x.Shows("STOPPED", "since 03:00:00 UTC (2 s)")
	x.Keys("b")
	x.Shows("since 03:00:00 UTC (1 s)")
	x.Keys("n")
	x.Shows("since 03:00:00 UTC (2 s)")
	x.Keys("nn")
	x.Shows(" END ", "since 03:00:00 UTC (3 s)", "rates over the last 1 s")
	x.Keys("b")
	x.Shows("STOPPED", "(1 s)")
	x.Keys("e")
	x.Shows("since 03:00:00 UTC (3 s)", "rates over 3 s")
	x.Keys("b")
	x.Shows("STOPPED")
	x.Keys(" ")
	x.Shows(" END ", "(3 s)") // it was played
	x.Keys("q")
	if code := x.Ends(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
}

// However it ends, the terminal is as it was.
func TestTopLeavesTheTerminal(t *testing.T) {
	t.Parallel()
	path := recorded(t)
	for what, end := range map[string]func(*terminal){
		"q":       func(x *terminal) { x.Keys("q") },
		"Ctrl-C":  func(x *terminal) { x.Keys("\x03") },
		"SIGTERM": func(x *terminal) { _ = x.Process.Signal(syscall.SIGTERM) },
		"SIGTERM, and again and again": func(x *terminal) {
			for x.Process.Signal(syscall.SIGTERM) == nil { // until it is gone
				time.Sleep(200 * time.Microsecond)
			}
		},
	} {
		x := runIn(t, 80, 24, nil, "top", "-r", path)
		x.Shows("overview on web1", "NETFILTER_DROP")
		end(x)
		// Once the terminal is as it was, a second signal may end it at once.
		if code := x.Ends(); code != 0 && !strings.Contains(what, "again") {
			t.Errorf("%s: got exit code %d, want 0", what, code)
		}
		if mode := x.Mode(); mode&(unix.ICANON|unix.ECHO) != unix.ICANON|unix.ECHO {
			t.Errorf("%s: got a terminal of mode %#x, want one that reads lines and echoes", what, mode)
		}
		if got := strings.TrimSpace(x.Text()); got != "" || x.Screen.IsAltScreen() || x.Screen.CursorHidden() {
			t.Errorf("%s: on the alternate screen %v, without cursor %v, and on the screen is left %q", what, x.Screen.IsAltScreen(), x.Screen.CursorHidden(), got)
		}
	}
}

// With colours verdicts have those of the tables; without, and in a terminal that
// knows no UTF-8, nothing but attributes and ASCII is drawn.
func TestTopColours(t *testing.T) {
	t.Parallel()
	path := recorded(t)
	x := runIn(t, 80, 24, nil, "top", "-r", path)
	x.Shows("NEIGH_FAILED")
	x.Keys("2")
	x.Shows("row 1 of 3")
	x.Until("a resource in red", func(string) bool { return strings.Contains(x.Screen.Render(), "\x1b[31mresource") })
	x.Until("a policy in yellow", func(string) bool { return strings.Contains(x.Screen.Render(), "\x1b[33mpolicy") })

	x = runIn(t, 80, 24, []string{"NO_COLOR=1", "LANG=C", "LC_ALL=C"}, "top", "-r", path)
	x.Shows("NEIGH_FAILED")
	x.Keys("2")
	screen := x.Shows("row 1 of 3", ">loss")
	if raw := x.Screen.Render(); strings.Contains(raw, "\x1b[31m") || strings.Contains(raw, "\x1b[33m") {
		t.Errorf("colours in spite of NO_COLOR:\n%q", raw)
	}
	for _, r := range screen {
		if r > 0x7f {
			t.Errorf("got %q, want ASCII only:\n%s", r, screen)
			break
		}
	}
}

// Where there is no terminal, or one that cannot be drawn on, plain tables come.
func TestTopFallsBack(t *testing.T) {
	t.Parallel()
	path := recorded(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-r", path}, {"top", "-r", path}} {
		cmd := exec.CommandContext(t.Context(), self, args...)
		cmd.Args[0] = "netfate"
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if s := string(out); !strings.Contains(s, "drops on web1 at") || !strings.Contains(s, "flows by flow on web1 at") || strings.Contains(s, "\x1b") {
			t.Errorf("%v: got %q, want both tables and no escapes", args, s)
		}
	}
	x := runIn(t, 80, 24, []string{"TERM=dumb"}, "top", "-r", path)
	x.Shows("flows by flow on web1 at")
	if code := x.Ends(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
	// What cannot be read is told before there is a screen.
	x = runIn(t, 80, 24, nil, "top", "-r", filepath.Join(t.TempDir(), "nothing.nfr"))
	x.Shows("nothing.nfr: no such file")
	if code := x.Ends(); code != exitFailed {
		t.Errorf("got exit code %d, want %d", code, exitFailed)
	}
}
