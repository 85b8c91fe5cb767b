package loader

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// Where the maps of url_map are by default.
const urlPins = "/sys/fs/bpf/netfate/url_map/maps/"

// TestURLMap counts a web server's requests, as tagged frames and with odd
// headers too, and finds what the server has logged.
func TestURLMap(t *testing.T) {
	need.Root(t)
	object := compile(t, filepath.Join(examples, "url_map.bpf.c"))
	for name, args := range map[string][]string{
		"native":  {"url_map_xdp", "--mode", "native"},
		"generic": {"url_map_xdp", "--mode", "generic"},
		"tc":      {"url_map_tc"},
		"both":    {},
	} {
		t.Run(name, func(t *testing.T) { testURLMap(t, object, args) })
	}
}

func testURLMap(t *testing.T, object string, args []string) {
	w := newWorld(t)
	w.netfate(append([]string{"run", object, "--dev", "eth0", "--pin", "--detach"}, args...)...)
	s := newSite(w, "0.0.0.0:80", "[::]:80")
	s.crowd("10.0.0.2:80", "[fd00::2]:80")
	s.frames()
	s.visit(w.webClient(false), "GET", "10.0.0.2:80", "last.example", "/") // behind all frames

	xdp, tc := w.dump(urlPins + "url_map")
	programs := 0
	if len(args) == 0 || args[0] == "url_map_xdp" {
		programs++
		s.wantLogged("XDP", xdp)
	}
	if len(args) == 0 || args[0] == "url_map_tc" {
		programs++
		s.wantLogged("tc", tc)
	}
	stats := rows[statistics](t, w.netfate("map", "dump", urlPins+"url_stats", "-o", "json"))
	if len(stats) != 1 {
		t.Fatalf("url_stats: got %d rows, want 1", len(stats))
	}
	got, want := stats[0].Value, stats[0].Value
	want.Requests, want.MapFull, want.Unread = 0, 0, 0
	for _, n := range s.log {
		want.Requests += n
	}
	want.Requests *= uint64(programs)
	const visits = 2 * 2 // addresses, with the connection kept and not
	want.PathCut, want.HostCut, want.NoHost = uint64(visits*programs), uint64(visits*programs), uint64(2*programs)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("url_stats (-want +got):\n%s", diff)
	}
	w.netfate("stop", "url_map")
	w.wantNothingLeft()
}

// TestSharedMap runs XDP and tc as two objects that count in one map.
func TestSharedMap(t *testing.T) {
	w := newWorld(t)
	const dir = "/sys/fs/bpf/urls"
	xdp := w.start("run", compile(t, filepath.Join(examples, "url_map_xdp.bpf.c")), "--dev", "eth0", "--pin="+dir)
	tc := w.start("run", compile(t, filepath.Join(examples, "url_map_tc.bpf.c")), "--dev", "eth0", "--pin="+dir)
	s := newSite(w, "0.0.0.0:80", "[::]:80")
	s.crowd("10.0.0.2:80", "[fd00::2]:80")
	byXDP, byTC := w.dump(dir + "/maps/url_map")
	s.wantLogged("XDP", byXDP)
	s.wantLogged("tc", byTC)

	// The one that made the map goes first; the other one counts on in it.
	w.netfate("stop", "url_map_xdp")
	w.check(xdp.wait())
	s.crowd("10.0.0.2:80")
	after, byTC := w.dump(dir + "/maps/url_map")
	s.wantLogged("tc", byTC)
	if diff := cmp.Diff(byXDP, after); diff != "" {
		t.Errorf("XDP, which is off (-before +after):\n%s", diff)
	}
	w.netfate("stop", "url_map_tc")
	w.check(tc.wait())
	w.wantNothingLeft()
}

// TestEnds ends a run in every way there is.
func TestEnds(t *testing.T) {
	need.Root(t)
	object := compile(t, filepath.Join(examples, "url_map.bpf.c"))
	for name, pin := range map[string][]string{"pinned": {"--pin"}, "not pinned": {}} {
		args := append([]string{"run", object, "--dev", "eth0"}, pin...)
		t.Run(name+", stopped", func(t *testing.T) {
			w := newWorld(t)
			r := w.start(args...)
			w.netfate("stop", "url_map")
			w.check(r.wait())
			w.wantNothingLeft()
		})
		t.Run(name+", interrupted", func(t *testing.T) {
			w := newWorld(t)
			r := w.start(args...)
			w.check(r.Process.Signal(os.Interrupt))
			w.check(r.wait())
			w.wantNothingLeft()
		})
		t.Run(name+", killed and stopped", func(t *testing.T) {
			w := newWorld(t)
			w.start(args...).kill()
			w.netfate("stop", "url_map")
			w.wantNothingLeft()
		})
		t.Run(name+", killed and run again", func(t *testing.T) {
			w := newWorld(t)
			w.start(args...).kill()
			r := w.start(args...)
			w.netfate("stop", "--all")
			w.check(r.wait())
			w.wantNothingLeft()
		})
	}
}

// others loads a program of somebody else, which returns a constant.
func others(t *testing.T, kind ebpf.ProgramType, returns int32) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "others", Type: kind, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, returns), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestOthersStay has filters, an XDP program and pins of somebody else around.
func TestOthersStay(t *testing.T) {
	w := newWorld(t)
	object := compile(t, filepath.Join(examples, "url_map.bpf.c"))
	eth0 := w.server.Link("eth0")
	clsact := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: eth0.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	w.check(w.server.Netlink().QdiscAdd(clsact))
	filter := others(t, ebpf.SchedCLS, 0)
	w.check(w.server.Netlink().FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: eth0.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 7, Protocol: 3 << 8, // ETH_P_ALL
		},
		Fd: filter.FD(), Name: "others", DirectAction: true,
	}))
	const pass = 2 // XDP_PASS
	program := others(t, ebpf.XDP, pass)
	w.server.Do(func() error { return netlink.LinkSetXdpFd(eth0, program.FD()) })
	pin, err := ebpf.NewMap(&ebpf.MapSpec{Name: "others", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	w.check(err)
	defer pin.Close()
	w.check(pin.Pin(w.root + "/sys/fs/bpf/others"))
	before := append(w.left(), w.filters(netlink.HANDLE_MIN_INGRESS)...)

	stdout, stderr, err := w.try("run", object, "url_map_xdp", "--dev", "eth0")
	if err == nil || !strings.Contains(stderr, "others") || !strings.Contains(stderr, "--replace") {
		t.Errorf("XDP in another's place: got error %v, %q, want one that names the program and --replace", err, stdout+stderr)
	}
	r := w.start("run", object, "--dev", "eth0", "--pin")
	s := newSite(w, "0.0.0.0:80")
	s.crowd("10.0.0.2:80")
	_, tc := w.dump(urlPins + "url_map")
	s.wantLogged("tc", tc)
	// A pin of somebody else's beside ours stays, and so does its directory.
	again, err := pin.Clone() // a map that is pinned twice moves
	w.check(err)
	defer again.Close()
	w.check(again.Pin(w.root + urlPins + "others"))
	w.netfate("stop", "url_map")
	w.check(r.wait())
	const dir = "/sys/fs/bpf/netfate/url_map"
	before = append(before, "/sys/fs/bpf/netfate", dir, dir+"/maps", dir+"/maps/others")
	var after []string
	same := netlab.Poll(patience, func() bool {
		after = append(w.left(), w.filters(netlink.HANDLE_MIN_INGRESS)...)
		slices.Sort(before)
		slices.Sort(after)
		return slices.Equal(before, after)
	})
	if !same {
		t.Errorf("what is others' (-before +after):\n%s", cmp.Diff(before, after))
	}
}

// TestKfreeSKB finds the place and the reason of datagrams that nobody waits for.
func TestKfreeSKB(t *testing.T) {
	w := newWorld(t)
	r := w.start("run", compile(t, filepath.Join(examples, "kfree_skb.bpf.c")), "--pin")
	w.client.Datagrams("10.0.0.2:9", 100, 10)
	type row struct {
		Key   struct{ Location string }
		Value struct{ Buffers uint64 }
	}
	netlab.WaitFor(t, "100 frees of one place", func() bool {
		all := rows[row](t, w.netfate("map", "dump", "/sys/fs/bpf/netfate/kfree_skb/maps/frees", "-o", "json"))
		return slices.ContainsFunc(all, func(r row) bool {
			return strings.HasPrefix(r.Key.Location, "0xffff") && r.Value.Buffers >= 100
		})
	})
	w.netfate("stop", "kfree_skb")
	w.check(r.wait())
	w.wantNothingLeft()
}

// TestMinimal sees the writes of netfate itself in the trace log.
func TestMinimal(t *testing.T) {
	w := newWorld(t)
	object := compile(t, filepath.Join(examples, "minimal.bpf.c"))
	log := w.command("log")
	stdout, err := log.StdoutPipe()
	w.check(err)
	w.server.Start(log)
	r := w.start("run", object, "--set", "my_pid=self")
	want := fmt.Sprintf("BPF triggered from PID %d.", r.Process.Pid)
	found := false
	for lines := bufio.NewScanner(stdout); !found && lines.Scan(); {
		found = strings.Contains(lines.Text(), want)
	}
	if !found {
		t.Errorf("got the end of the log, want %q in it", want)
	}
	w.check(log.Process.Kill())
	w.netfate("stop", "minimal")
	w.check(r.wait())
	w.wantNothingLeft()
}
