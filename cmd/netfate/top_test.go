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
				x.keys(tab.key)
				x.golden(at(tab.name), tab.shows)
			}
			x.keys("2" + down)
			x.shows("row 2 of 3")
			x.keys(enter)
			x.golden(at("row"), "drops, one row", "Esc back")
			x.keys("?")
			x.golden(at("explain"), "explain SOCKET_RCVBUFF", "What happened")
			x.keys("qqq")
			if code := x.ends(); code != 0 {
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
	x.shows("NEIGH_FAILED")
	x.keys("2")
	x.shows("row 1 of 3")
	x.keys("?")
	screen := x.shows("Put it right")
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
	x.shows("overview on web1", "NETFILTER_DROP")

	x.keys("h")
	x.golden("help-100x24", "the tabs; also Tab")
	x.keys("?") // help is open already: one page is enough
	x.keys(escape)
	x.shows("overview on web1")
	x.keys("\t")
	x.shows("drops on web1")
	x.keys("\x1b[Z\x1b[Z") // back over the first to the last
	x.shows("ledger of web1")
	x.keys("\x1b[D") // left
	x.shows("queries by name")
	x.keys("\x1b[C")
	x.shows("ledger of web1")

	// Views, both ways.
	x.keys("g")
	x.shows("[namespaces]")
	x.keys("g")
	x.shows("[bars]", "came    ")
	x.keys("/unexpl" + enter)
	x.shows("only unexpl")
	x.lacks("came    ")
	x.keys(escape)
	x.shows("came    ")
	x.keys("GG")
	x.shows("[losses]")
	x.keys("G")
	x.shows("[layers]")

	// Benign drops.
	x.keys("2")
	x.shows("row 1 of 3", "hidden: 3 packets")
	x.keys("a")
	x.shows("row 1 of 4", "OFOMERGE")
	x.keys("a")
	x.lacks("OFOMERGE")

	// Sorting: verdict, packets, and round.
	x.keys("s")
	x.shows("VERDICT↑", "sorted by verdict")
	x.keys("s")
	first := func(want string) {
		t.Helper()
		x.until(want+" in the first row", func(screen string) bool {
			return strings.Contains(strings.Split(screen, "\n")[3], want)
		})
	}
	x.shows("PACKETS↓")
	first("SOCKET_RCVBUFF")
	x.keys("r")
	x.shows("PACKETS↑")
	first("NETFILTER_DROP")
	x.keys("SS")
	x.lacks("sorted by")
	first("NEIGH_FAILED")

	// Filter, as it is typed.
	x.keys("/sock")
	x.shows("/sock", "row 1 of 1", "only sock")
	x.lacks("NEIGH_FAILED")
	x.keys("\x7f\x7f\x7f\x7fnothing")
	x.shows("no row has nothing in it; Esc shows all")
	x.keys(escape)
	x.shows("row 1 of 3")

	// The cursor.
	x.keys("j")
	x.shows("row 2 of 3")
	x.keys("k")
	x.shows("row 1 of 3")
	x.keys("\x1b[F")
	x.shows("row 3 of 3")
	x.keys("\x1b[H")
	x.shows("row 1 of 3")
	x.keys("\x1b[6~")
	x.shows("row 3 of 3")
	x.keys("\x1b[5~")
	x.shows("row 1 of 3")

	// What was lost of the recording.
	x.keys("l")
	x.shows("what netfate could not keep", "6 at drops (ring full): not shown one by one")
	x.keys("q")
	x.shows("drops on web1")

	// The mouse: a row, then what is behind it; the tabs; the wheel.
	x.keys("m\x1b[<0;5;5M\x1b[<0;5;5m")
	x.shows("row 2 of 3")
	x.keys("\x1b[<0;5;5M")
	x.shows("drops, one row")
	x.keys(escape + "\x1b[<0;26;1M")
	x.shows("flows by flow")
	x.keys("\x1b[<65;5;5M")
	x.shows("row 4 of 12")
	x.keys("m")

	// Resizing.
	x.resize(60, 16)
	x.golden("flows-60x16", "flows by flow", "row 4 of 12")
	x.resize(160, 50)
	x.shows("INTERFACE")
	x.resize(20, 5)
	x.until("a tiny screen", func(screen string) bool { return !strings.Contains(screen, "INTERFACE") })
	x.resize(80, 24)
	x.shows("row 4 of 12")
	x.keys("\x03")
	if code := x.ends(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
}

// A recording is shown whole, then step by step.
func TestTopSteps(t *testing.T) {
	t.Parallel()
	x := runIn(t, 80, 24, nil, "-r", recorded(t))
	x.shows("rates over 3 s", "b beginning")
	x.keys("2")
	x.shows("9  ", "since 03:00:00 UTC (3 s)")
	x.keys("b")
	x.shows("STOPPED", "since 03:00:00 UTC (1 s)", "rates over the last 1 s")
	x.keys("n")
	x.shows("STOPPED", "since 03:00:00 UTC (2 s)")
	x.keys("b")
	x.shows("since 03:00:00 UTC (1 s)")
	x.keys("n")
	x.shows("since 03:00:00 UTC (2 s)")
	x.keys("nn")
	x.shows(" END ", "since 03:00:00 UTC (3 s)", "rates over the last 1 s")
	x.keys("b")
	x.shows("STOPPED", "(1 s)")
	x.keys("e")
	x.shows("since 03:00:00 UTC (3 s)", "rates over 3 s")
	x.keys("b")
	x.shows("STOPPED")
	x.keys(" ")
	x.shows(" END ", "(3 s)") // it was played
	x.keys("q")
	if code := x.ends(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
}

// However it ends, the terminal is as it was.
func TestTopLeavesTheTerminal(t *testing.T) {
	t.Parallel()
	path := recorded(t)
	for what, end := range map[string]func(*terminal){
		"q":       func(x *terminal) { x.keys("q") },
		"Ctrl-C":  func(x *terminal) { x.keys("\x03") },
		"SIGTERM": func(x *terminal) { _ = x.proc.Signal(syscall.SIGTERM) },
		"SIGTERM, and again and again": func(x *terminal) {
			for x.proc.Signal(syscall.SIGTERM) == nil { // until it is gone
				time.Sleep(200 * time.Microsecond)
			}
		},
	} {
		x := runIn(t, 80, 24, nil, "top", "-r", path)
		x.shows("overview on web1", "NETFILTER_DROP")
		end(x)
		// Once the terminal is as it was, a second signal may end it at once.
		if code := x.ends(); code != 0 && !strings.Contains(what, "again") {
			t.Errorf("%s: got exit code %d, want 0", what, code)
		}
		if mode := x.mode(); mode&(unix.ICANON|unix.ECHO) != unix.ICANON|unix.ECHO {
			t.Errorf("%s: got a terminal of mode %#x, want one that reads lines and echoes", what, mode)
		}
		if got := strings.TrimSpace(x.text()); got != "" || x.screen.IsAltScreen() || x.screen.CursorHidden() {
			t.Errorf("%s: on the alternate screen %v, without cursor %v, and on the screen is left %q", what, x.screen.IsAltScreen(), x.screen.CursorHidden(), got)
		}
	}
}

// With colours verdicts have those of the tables; without, and in a terminal that
// knows no UTF-8, nothing but attributes and ASCII is drawn.
func TestTopColours(t *testing.T) {
	t.Parallel()
	path := recorded(t)
	x := runIn(t, 80, 24, nil, "top", "-r", path)
	x.shows("NEIGH_FAILED")
	x.keys("2")
	x.shows("row 1 of 3")
	x.until("a resource in red", func(string) bool { return strings.Contains(x.screen.Render(), "\x1b[31mresource") })
	x.until("a policy in yellow", func(string) bool { return strings.Contains(x.screen.Render(), "\x1b[33mpolicy") })

	x = runIn(t, 80, 24, []string{"NO_COLOR=1", "LANG=C", "LC_ALL=C"}, "top", "-r", path)
	x.shows("NEIGH_FAILED")
	x.keys("2")
	screen := x.shows("row 1 of 3", ">loss")
	if raw := x.screen.Render(); strings.Contains(raw, "\x1b[31m") || strings.Contains(raw, "\x1b[33m") {
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
	x.shows("flows by flow on web1 at")
	if code := x.ends(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
	// What cannot be read is told before there is a screen.
	x = runIn(t, 80, 24, nil, "top", "-r", filepath.Join(t.TempDir(), "nothing.nfr"))
	x.shows("nothing.nfr: no such file")
	if code := x.ends(); code != exitFailed {
		t.Errorf("got exit code %d, want %d", code, exitFailed)
	}
}
