package scenario

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// told collects alerts by namespace.
type told struct {
	mu sync.Mutex
	by map[uint32][]record.Alert
}

func (c *told) add(a record.Alert) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[uint32][]record.Alert{}
	}
	c.by[a.NetNS] = append(c.by[a.NetNS], a)
}

// of is the alerts of a namespace, by place, as what matters in them.
func (c *told) of(n *netlab.NetNS) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := slices.Clone(c.by[n.Inode])
	slices.SortStableFunc(list, func(a, b record.Alert) int { return cmp.Compare(a.Location, b.Location) })
	var out []string
	for _, a := range list {
		s := fmt.Sprintf("%s %s %s %s at %s on %s", a.Event, a.Verdict, a.Subsystem, a.Reason, a.Location, a.IfName)
		if a.Event == record.AlertOver { // when a first alert comes, an interval may have had a part of them
			s += fmt.Sprintf(": %d packets", a.Packets)
		}
		out = append(out, s)
	}
	return out
}

func (c *told) count(n *netlab.NetNS, event string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := 0
	for _, a := range c.by[n.Inode] {
		if a.Event == event {
			found++
		}
	}
	return found
}

// watched runs netfate watch until the test ends, and returns when it has learned:
// when the first loss of a namespace is news. Each try is a namespace of its own,
// since the ones before may have been learned.
func watched(t *testing.T, lab *netlab.Lab) (*told, *watch) {
	t.Helper()
	live, fields := &told{}, record.Fields(record.Alert{})
	w := startWatch(t, func(row []byte) error {
		var a record.Alert
		if err := record.ParseJSON(row, fields, &a); err != nil {
			return err
		}
		live.add(a)
		return nil
	}, "watch", "--learn", "3s")
	tries := 0
	learned := netlab.Poll(60*time.Second, func() bool {
		tries++
		marker := lab.NetNS(fmt.Sprintf("marker%d", tries))
		marker.Datagrams("127.0.0.1:9", 1, 10)
		return netlab.Poll(3*time.Second, func() bool { return live.count(marker, record.AlertNew) == 1 })
	})
	if !learned {
		t.Fatalf("got no alert for a first loss within a minute; netfate says:\n%s", w.stderr)
	}
	return live, w
}

// TestWatchUnexplained wants one alert when something goes out that the kernel's
// counters of IP do not know: frames of AF_PACKET.
func TestWatchUnexplained(t *testing.T) {
	need.Root(t)
	need.Time(t)
	lab := netlab.New(t)
	client, server := pair(lab)
	server.ListenUDP("10.0.0.2:9000")
	live, w := watched(t, lab)
	raw := client.Packets("eth0", unix.ETH_P_IP)
	frame := netlab.Frame{
		SrcMAC: client.MAC("eth0"), DstMAC: server.MAC("eth0"), Proto: unix.IPPROTO_UDP, Payload: make([]byte, 100),
		Src: netip.MustParseAddrPort("10.0.0.1:9000"), Dst: netip.MustParseAddrPort("10.0.0.2:9000"),
	}.Bytes()
	found := netlab.Poll(60*time.Second, func() bool {
		for range 40 {
			raw.Send(frame)
		}
		return netlab.Poll(time.Second, func() bool { return live.count(client, record.AlertNew) > 0 })
	})
	if !found {
		t.Fatalf("got no alert within a minute; netfate says:\n%s", w.stderr)
	}
	w.stop()
	want := []string{"new loss  ~unexplained at out ip on "}
	if diff := gocmp.Diff(want, live.of(client)); diff != "" {
		t.Errorf("alerts (-want +got):\n%s", diff)
	}
	if a := live.by[client.Inode][0]; a.Why == "" || a.Command != fmt.Sprintf("netfate ledger --layers --netns %d", client.Inode) {
		t.Errorf("got why %q and command %q", a.Why, a.Command)
	}
}

// TestWatch wants silence about a network where all arrives, one alert for each
// of two losses that begin, one when each is over, and the same from a recording.
func TestWatch(t *testing.T) {
	need.Root(t)
	need.Time(t)
	lab := netlab.New(t)
	client, server := pair(lab)
	sink := server.ListenUDP("10.0.0.2:9000")
	file := filepath.Join(t.TempDir(), "watch.nfr")
	stop := startRecording(t, file)

	live, w := watched(t, lab)
	for range 20 {
		client.Datagrams("10.0.0.2:9000", 1, 100)
		netlab.WaitFor(t, "a datagram", func() bool { return received(server, sink) == 1 })
	}
	if got := slices.Concat(live.of(client), live.of(server)); len(got) > 0 {
		t.Errorf("got %q of a network that loses nothing", got)
	}

	const sent = 10
	server.NFT(`table inet lossy { chain in { type filter hook input priority 0; udp dport 9002 drop; }; }`)
	full := server.ListenUDP("10.0.0.2:9001")
	server.Must("shrink buffer", full.SetReadBuffer(2048))
	for range sent {
		client.Datagrams("10.0.0.2:9001", 2, 1000)
		client.Datagrams("10.0.0.2:9002", 1, 100)
		time.Sleep(100 * time.Millisecond) // over several intervals
	}
	lost := server.Counter("Udp", "RcvbufErrors")
	if !netlab.Poll(120*time.Second, func() bool { return live.count(server, record.AlertOver) == 2 }) {
		t.Errorf("got %q, want two ends within two minutes", live.of(server))
	}
	w.stop()
	time.Sleep(3 * time.Second) // what records has intervals of its own, which end later
	stop()

	got := live.of(server)
	if len(got) != 4 || live.count(server, record.AlertNew) != 2 || len(live.of(client)) != 0 {
		t.Errorf("got %q and of the client %q, want a beginning and an end of two losses", got, live.of(client))
	}
	var packets []uint64
	for _, a := range live.by[server.Inode] {
		if a.Event == record.AlertOver {
			packets = append(packets, a.Packets)
		}
		if a.Why == "" || a.Command != fmt.Sprintf("netfate drops --netns %d -i eth0", server.Inode) {
			t.Errorf("got why %q and command %q", a.Why, a.Command)
		}
	}
	slices.Sort(packets)
	want := []uint64{sent, lost}
	slices.Sort(want)
	if diff := gocmp.Diff(want, packets); diff != "" {
		t.Errorf("packets when it was over (-want +got):\n%s", diff)
	}

	again := &told{}
	for _, a := range replay(t, file, "watch", record.Alert{}, "--learn", "3s") {
		again.add(a)
	}
	if diff := gocmp.Diff(got, again.of(server)); diff != "" {
		t.Errorf("from the recording (-live +recording):\n%s", diff)
	}
	if got := again.of(client); len(got) > 0 {
		t.Errorf("got %q of the client from the recording, want nothing", got)
	}
}

// TestDiff records a network before and after a rule that loses packets, and wants
// that loss named first, and the other way round as gone.
func TestDiff(t *testing.T) {
	need.Time(t)
	need.Root(t)
	client, server := pair(netlab.New(t))
	sink := server.ListenUDP("10.0.0.2:9000")
	const sent = 30
	stretch := func(name string) string {
		t.Helper()
		file := filepath.Join(t.TempDir(), name)
		stop := startRecording(t, file)
		for range sent {
			client.Datagrams("10.0.0.2:9000", 1, 100)
			client.Datagrams("10.0.0.2:9002", 1, 100) // a closed port, before and after
			time.Sleep(50 * time.Millisecond)
		}
		received(server, sink)
		stop()
		return file
	}
	before := stretch("before.nfr")
	server.NFT(`table inet lossy { chain in { type filter hook input priority 0; udp dport 9000 drop; }; }`)
	after := stretch("after.nfr")

	losses := func(one, other string) (list []record.Change) {
		t.Helper()
		for _, c := range rowsOf(t, record.Change{}, "diff", one, other, "--netns", fmt.Sprint(server.Inode), "-o", "json") {
			if c.What == record.ChangedLoss {
				list = append(list, c)
			}
		}
		return list
	}
	for _, c := range []struct {
		one, other, change string
		before, after      uint64
	}{{before, after, record.ChangeNew, 0, sent}, {after, before, record.ChangeGone, sent, 0}} {
		got := losses(c.one, c.other)
		if len(got) != 1 {
			t.Fatalf("got %+v, want one loss that is %s", got, c.change)
		}
		l := got[0]
		if l.Change != c.change || l.PacketsBefore != c.before || l.PacketsAfter != c.after || l.Verdict != record.Policy ||
			l.IfName != "eth0" || l.Why == "" {
			t.Errorf("got %+v, want %d packets lost to a rule before and %d after", l, c.before, c.after)
		}
	}
}
