package sensor

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/sensor/tls"
	"github.com/netfate/netfate/test/netlab"
)

// talk is what the sensor told of one connection at one of its ends.
type talk struct {
	pid     uint32
	said    [2][]byte // received and sent
	missing [2]int
	begun   [2]bool // with a SYN
	over    bool
	client  bool
	server  bool
	local   netip.AddrPort
	remote  netip.AddrPort
}

// listener reads a sensor.
type listener struct {
	t     testing.TB
	s     *tls.Sensor
	in    map[string]uint32
	talks map[uint64]*talk
	order []uint64
}

// openSSL has a sensor watch just the first library that is installed: kernels
// before 6.6 take their time to let go of each place.
const openSSL = 1

// listen starts a sensor; the test ends it. Only what is said in the lab counts.
func listen(t testing.TB, cfg tls.Config, lab *netlab.Lab) *listener {
	t.Helper()
	s := start(t, cfg)
	return &listener{t: t, s: s, in: lab.Inodes(), talks: map[uint64]*talk{}}
}

// start starts a sensor; the test ends it.
func start(t testing.TB, cfg tls.Config) *tls.Sensor {
	t.Helper()
	s, err := tls.New(cfg)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	check(t, s.Attach())
	if lacks := s.Lacks(); len(lacks) > 0 && cfg.Without == nil {
		t.Errorf("got lacks %q, want none", lacks)
	}
	if cfg.MaxFiles == openSSL {
		_, err := s.Losses() // all other files
		check(t, err)
	}
	return s
}

// until reads until done is content with what was told.
func (l *listener) until(what string, done func() bool) {
	l.t.Helper()
	end := time.Now().Add(30 * time.Second)
	for !done() {
		if !l.next(time.Now().Add(20*time.Millisecond)) && time.Now().After(end) {
			l.t.Fatalf("waited in vain for %s; got %s", what, l)
		}
	}
}

// drain reads what is there.
func (l *listener) drain() {
	l.t.Helper()
	for l.next(time.Now()) {
	}
}

// next reads a row; false if there is none.
func (l *listener) next(deadline time.Time) bool {
	l.t.Helper()
	var e decode.PacketEvent
	payload, ok, err := l.s.Next(deadline, &e)
	check(l.t, err)
	if !ok || !has(l.in, e.Owner.NetNS) {
		return ok
	}
	k := l.talks[e.Conn]
	if k == nil {
		k = &talk{pid: e.Owner.PID}
		l.talks[e.Conn] = k
		l.order = append(l.order, e.Conn)
	}
	l.add(k, &e, payload)
	return true
}

func (l *listener) add(k *talk, e *decode.PacketEvent, payload []byte) {
	l.t.Helper()
	d, local, remote := 0, netip.AddrPortFrom(netip.AddrFrom16(e.Dst).Unmap(), e.DstPort), netip.AddrPortFrom(netip.AddrFrom16(e.Src).Unmap(), e.SrcPort)
	if e.Dir&decode.PacketOut != 0 {
		d, local, remote = 1, remote, local
	}
	switch {
	case e.Dir&decode.PacketPlain == 0, e.Owner.PID != k.pid, e.Owner.Start == 0, e.Time == 0:
		l.t.Errorf("got %+v, want plaintext of process %d", e, k.pid)
	case k.over:
		l.t.Errorf("got %+v after the end", e)
	case int(e.Seq) != len(k.said[d])+k.missing[d] && e.TCPFlags&netlab.FIN == 0:
		l.t.Errorf("process %d: got Seq %d after %d bytes and %d missing", k.pid, e.Seq, len(k.said[d]), k.missing[d])
	case int(e.Ack) != len(k.said[1-d])+k.missing[1-d]:
		l.t.Errorf("process %d: got Ack %d after %d bytes and %d missing", k.pid, e.Ack, len(k.said[1-d]), k.missing[1-d])
	}
	if e.TCPFlags&netlab.FIN != 0 {
		k.over = true
	} else {
		k.begun[d] = k.begun[d] || e.TCPFlags&netlab.SYN != 0
	}
	k.client, k.server = e.Dir&decode.PacketClient != 0, e.Dir&decode.PacketServer != 0
	k.local, k.remote = local, remote
	k.said[d] = append(k.said[d], payload...)
	k.missing[d] += int(e.Missing)
}

// of returns what a process said, in the order of connections.
func (l *listener) of(pid uint32) (all []*talk) {
	for _, id := range l.order {
		if l.talks[id].pid == pid {
			all = append(all, l.talks[id])
		}
	}
	return all
}

// overs is how many connections of a process are over.
func (l *listener) overs(pid uint32) (n int) {
	for _, k := range l.of(pid) {
		if k.over {
			n++
		}
	}
	return n
}

func (l *listener) String() string {
	var b strings.Builder
	for _, id := range l.order {
		k := l.talks[id]
		fmt.Fprintf(&b, "\n%d: %v → %v, in %d (%d missing) %.40q, out %d (%d missing) %.40q, over %v", k.pid, k.local, k.remote,
			len(k.said[0]), k.missing[0], k.said[0], len(k.said[1]), k.missing[1], k.said[1], k.over)
	}
	return b.String()
}

// wantNoLosses wants everything to have been kept.
func (l *listener) wantNoLosses() {
	l.t.Helper()
	if losses, err := l.s.Losses(); err != nil || len(losses) > 0 {
		l.t.Errorf("got losses %+v, error %v", losses, err)
	}
}

// cable is two namespaces that see each other.
func cable(t testing.TB) (lab *netlab.Lab, a, b *netlab.NetNS) {
	lab = netlab.New(t)
	a, b = lab.NetNS("a"), lab.NetNS("b")
	lab.Veth(a, "eth0", b, "eth0")
	a.Addr("eth0", "10.0.0.1/24")
	b.Addr("eth0", "10.0.0.2/24")
	return lab, a, b
}
