package counters

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// message encodes a netlink message.
func message(kind, flags uint16, seq uint32, body ...byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = append(binary.NativeEndian.AppendUint32(b, 0), body...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func TestAnswer(t *testing.T) {
	f := func(dump bool, datagram []byte, bodies string, done, interrupted bool, want error) {
		t.Helper()
		var got []string
		a := answer{seq: 7, dump: dump, each: func(b []byte) { got = append(got, string(b)) }}
		if err := a.take(datagram); !errors.Is(err, want) {
			t.Errorf("error: got %v, want %v", err, want)
		}
		if strings.Join(got, " ") != bodies || a.done != done || a.interrupted != interrupted {
			t.Errorf("got %q, done %t, interrupted %t; want %q, %t, %t", got, a.done, a.interrupted, bodies, done, interrupted)
		}
	}
	join := func(all ...[]byte) (b []byte) {
		for _, one := range all {
			b = append(b, one...)
		}
		return b
	}
	refused := binary.NativeEndian.AppendUint32(nil, ^uint32(unix.EPERM)+1)
	f(true, join(message(16, unix.NLM_F_MULTI, 7, 'a'), message(16, unix.NLM_F_MULTI, 7, 'b', 'c')), "a bc", false, false, nil)
	f(true, join(message(16, unix.NLM_F_MULTI, 7, 'a'), message(unix.NLMSG_DONE, unix.NLM_F_MULTI, 7, 0, 0, 0, 0)), "a", true, false, nil)
	f(true, message(16, unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR, 7, 'a'), "a", false, true, nil)
	f(true, message(16, unix.NLM_F_MULTI, 6, 'a'), "", false, false, nil)              // of another request
	f(false, message(16, unix.NLM_F_MULTI, 7, 'a'), "a", true, false, nil)             // ctnetlink marks a single answer so
	f(false, message(unix.NLMSG_ERROR, 0, 7, refused...), "", true, false, unix.EPERM) // refused
	f(true, message(unix.NLMSG_DONE, 0, 7, refused...), "", true, false, unix.EPERM)   // refused in the midst
	f(true, binary.NativeEndian.AppendUint32(nil, 3), "", false, false, nil)           // no message at all
}

// stub answers as an empty namespace does, but for what a test sets.
type stub struct {
	files   map[string]string
	answers map[uint16]func(each func([]byte)) error // by kind of message
	asked   map[uint16]int
}

func (s *stub) file(name string) ([]byte, error) {
	if text, ok := s.files[name]; ok {
		return []byte(text), nil
	}
	return nil, unix.ENOENT
}
func (s *stub) tracked() bool { return false }
func (s *stub) ask(q request, each func([]byte)) error {
	s.asked[q.kind]++
	if f := s.answers[q.kind]; f != nil {
		return f(each)
	}
	return nil
}
func (s *stub) ethtool(string, []byte) error                  { return unix.ENODEV }
func (s *stub) tcx(uint32, ebpf.AttachType) ([]uint32, error) { return nil, errNoTCX }
func (s *stub) program(uint32) (string, error)                { return "", unix.EPERM }

func newStub() *stub {
	return &stub{files: map[string]string{}, answers: map[uint16]func(func([]byte)) error{}, asked: map[uint16]int{}}
}

// linkMessage is an RTM_NEWLINK message of a veth.
func linkMessage(index uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], index)
	return append(b, attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, []byte("veth\x00")))...)
}

func attr(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofNlAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func TestBounds(t *testing.T) {
	s := newStub()
	s.answers[unix.RTM_GETLINK] = func(each func([]byte)) error {
		for i := range maxInterfaces + 5 {
			each(linkMessage(uint32(i + 1)))
		}
		return nil
	}
	s.answers[unix.RTM_GETQDISC] = func(each func([]byte)) error {
		for range maxQueues + 3 {
			each(make([]byte, sizeofTcMsg))
		}
		return nil
	}
	s.files["sockstat"] = "UDP: inuse 1 mem 0\n"
	s.answers[sockDiagByFamily] = func(each func([]byte)) error {
		for i := range 3 * maxSockets {
			b := make([]byte, sizeofInetMsg)
			b[0] = unix.AF_INET
			binary.NativeEndian.PutUint32(b[44:], uint32(i+1))
			mem := make([]byte, 36)
			binary.NativeEndian.PutUint32(mem[4*memDrops:], uint32(i))
			each(append(b, attr(inetDiagMemInfo, mem)...))
		}
		return nil
	}
	var n Namespace
	lost := read(New(), s, &n)
	if len(n.Interfaces) != maxInterfaces || lost["interfaces"] != 5 {
		t.Errorf("interfaces: got %d, %d lost; want %d, 5", len(n.Interfaces), lost["interfaces"], maxInterfaces)
	}
	if len(n.Qdiscs) != maxQueues || lost["qdiscs"] != 3 {
		t.Errorf("qdiscs: got %d, %d lost; want %d, 3", len(n.Qdiscs), lost["qdiscs"], maxQueues)
	}
	if len(n.Sockets) != maxSockets || n.Sockets[0].Drops != 3*maxSockets-1 || n.Sockets[maxSockets-1].Drops != 2*maxSockets {
		t.Errorf("sockets: got %d, want %d with most drops", len(n.Sockets), maxSockets)
	}
	var drops, kept uint64
	for i := range 3 * maxSockets {
		drops += uint64(i)
	}
	for _, k := range n.Sockets {
		kept += uint64(k.Drops)
	}
	// The stub answers for packet sockets too, which have no drops then.
	sum := n.SocketSums[0]
	if sum.Protocol != "udp" || sum.Sockets != 3*maxSockets || sum.Drops != drops || sum.RestDrops != drops-kept || sum.RestSockets != 2*maxSockets-1 {
		t.Errorf("sum: got %+v, want %d sockets, %d drops of which %d without room", sum, 3*maxSockets, drops, drops-kept)
	}
	if lost["sockets"] != 2*maxSockets-1 {
		t.Errorf("sockets lost: got %d, want %d", lost["sockets"], 2*maxSockets-1)
	}
	list := lost.list(time.Now())
	if len(list) != 3 || list[0].Place != "ledger_interfaces" || list[0].Count != 5 || list[0].Effect == "" {
		t.Errorf("lost: got %+v, want interfaces, qdiscs and sockets", list)
	}
}

func TestInterruptedList(t *testing.T) {
	s := newStub()
	s.answers[unix.RTM_GETLINK] = func(each func([]byte)) error {
		each(linkMessage(1))
		if s.asked[unix.RTM_GETLINK] == 1 {
			return errInterrupted
		}
		return nil
	}
	var n Namespace
	read(New(), s, &n)
	if len(n.Interfaces) != 1 {
		t.Errorf("got %d interfaces, want 1: what was read before is read again", len(n.Interfaces))
	}
	if _, gap := n.Gap(PartLinks); gap {
		t.Errorf("got gap %+v, want none", n.Gaps)
	}
	s.answers[unix.RTM_GETLINK] = func(each func([]byte)) error { each(linkMessage(1)); return errInterrupted }
	read(New(), s, &n)
	if g, gap := n.Gap(PartLinks); !gap || len(n.Interfaces) != 1 || g.Subject == "" || g.Why != errInterrupted.Error() {
		t.Errorf("a list that always changes: got %d interfaces, gaps %+v; want the last reading and a gap", len(n.Interfaces), n.Gaps)
	}
	s.answers[unix.RTM_GETLINK] = func(each func([]byte)) error { each(linkMessage(1)); return unix.ENOBUFS }
	read(New(), s, &n)
	if g, gap := n.Gap(PartLinks); !gap || n.Interfaces != nil || g.Subject != "" {
		t.Errorf("a list that ended early: got %d interfaces, gaps %+v; want none and a gap", len(n.Interfaces), n.Gaps)
	}
}

// TestNoSockets asks for no sockets where sockstat says that there are none:
// it is the kernel's most expensive answer.
func TestNoSockets(t *testing.T) {
	s := newStub()
	s.files["sockstat"] = "sockets: used 4\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n"
	var n Namespace
	read(New(), s, &n)
	if got := s.asked[sockDiagByFamily]; got != 1 {
		t.Errorf("asked sock_diag %d times, want once, for packet sockets", got)
	}
	delete(s.files, "sockstat")
	s.asked[sockDiagByFamily] = 0
	read(New(), s, &n)
	if got := s.asked[sockDiagByFamily]; got != 5 {
		t.Errorf("not knowing, asked sock_diag %d times, want 5", got)
	}
}

func TestGaps(t *testing.T) {
	s := newStub()
	s.answers[unix.RTM_GETLINK] = func(func([]byte)) error { return unix.EPERM }
	s.files["snmp"] = "Ip: A B\nIp: 1\n"
	var n Namespace
	read(New(), s, &n)
	for _, part := range []Part{PartLinks, PartSNMP, PartNetstat, PartXfrm} {
		if g, ok := n.Gap(part); !ok || g.Why == "" {
			t.Errorf("%s: got gap %+v %t, want one with a reason", part, g, ok)
		}
	}
	if len(n.Reads) == 0 || n.Reads[0].Part != PartLinks {
		t.Errorf("reads: got %+v, want links first", n.Reads)
	}
}

func TestSampleOfOwnNamespace(t *testing.T) {
	s := New().Sample(t.Context(), []Place{{Name: "own"}})
	if len(s.Namespaces) != 1 || s.Namespaces[0].Name != "own" {
		t.Fatalf("got %+v, want one namespace", s.Namespaces)
	}
	n := &s.Namespaces[0]
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil || n.Inode != uint32(st.Ino) {
		t.Errorf("inode: got %d, want %d, error %v", n.Inode, st.Ino, err)
	}
	if lo := n.Interface(1); lo == nil || lo.Kind != "lo" {
		t.Errorf("interface 1: got %+v, want lo", lo)
	}
	if _, ok := n.Counter("IpInReceives"); !ok || len(s.Host.Softnet) == 0 || s.CPU <= 0 || s.Took <= 0 {
		t.Errorf("got no counter, no softnet_stat or no cost: %+v", s.Host)
	}
}

// TestNoDescriptorStays counts this process's descriptors.
func TestNoDescriptorStays(t *testing.T) {
	count := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	r := New()
	r.Sample(t.Context(), []Place{{}}) // the runtime opens some of its own
	before := count()
	for range 3 {
		r.Sample(t.Context(), []Place{{}, {Path: "/nowhere"}, {Inode: 1}})
	}
	if after := count(); after != before {
		t.Errorf("got %d descriptors after three samples, %d before", after, before)
	}
}

func TestPlaces(t *testing.T) {
	s := New().Sample(t.Context(), []Place{{Path: "/nowhere"}, {Inode: 1}})
	for i, want := range []string{"does not have it", errReplaced.Error()} {
		g, ok := s.Namespaces[i].Gap(PartNamespace)
		if !ok || !strings.Contains(g.Why, want) {
			t.Errorf("%+v: got gap %q, want %q", s.Namespaces[i].Place, g.Why, want)
		}
		if len(s.Namespaces[i].SNMP.Names) > 0 {
			t.Errorf("%+v: got counters of a namespace that was not entered", s.Namespaces[i].Place)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	s = New().Sample(over, make([]Place, maxNamespaces+2))
	if g, ok := s.Namespaces[0].Gap(PartNamespace); !ok || !strings.Contains(g.Why, "no time") {
		t.Errorf("after the end of its context: got gap %+v, want one", g)
	}
	if len(s.Namespaces) != maxNamespaces || len(s.Lost) != 1 || s.Lost[0].Count != 2 {
		t.Errorf("got %d namespaces, lost %+v; want %d and 2 lost", len(s.Namespaces), s.Lost, maxNamespaces)
	}
}

func TestReasons(t *testing.T) {
	for _, err := range []error{unix.EPERM, unix.ENOENT, context.DeadlineExceeded, fmt.Errorf("x: %w", errFormat)} {
		if got := reason(err); got == "" || strings.Contains(got, "\n") {
			t.Errorf("%v: got %q, want a sentence", err, got)
		}
	}
}

// TestRaw reads /proc/net/raw and raw6 as Linux 6.18 writes them where numbers are
// little-endian.
func TestRaw(t *testing.T) {
	const text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n" +
		"   17: 0200060A:0011 00000000:0000 07 00000000:00000900 00:00000000 00000000     0        0 81327 2 00000000ab0fb4d2 27\n"
	const text6 = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n" +
		"   58: B80D0120000000000000000001000000:003A 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     7        0 81328 2 00000000ab0fb4d3 0\n"
	var got []Socket
	for _, s := range []string{text, text6} {
		if err := parseRaw([]byte(s), func(s Socket) { got = append(got, s) }); err != nil {
			t.Fatal(err)
		}
	}
	want := []Socket{
		{Protocol: "raw", Local: netip.MustParseAddrPort("10.6.0.2:17"), Remote: netip.MustParseAddrPort("0.0.0.0:0"), Inode: 81327, Drops: 27, Queued: 0x900},
		{Protocol: "raw", Local: netip.MustParseAddrPort("[2001:db8::1]:58"), Remote: netip.MustParseAddrPort("[::]:0"), UID: 7, Inode: 81328},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, bad := range []string{"head\n1: 2\n", "head\n17: 0200060A:0011 00000000:0000 07 0:0 0 0 0 0 1 2 3 x\n", "head\n17: 0200060:0011 00000000:0000 07 0:0 0 0 0 0 1 2 3 4\n"} {
		if err := parseRaw([]byte(bad), func(Socket) {}); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}
