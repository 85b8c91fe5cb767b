package ipfix

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/exporttest"
	"github.com/netfate/netfate/test/need"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// decoder is a collector's view of one stream of messages.
type decoder struct {
	templates map[uint16][]Element
	sequence  uint32
	rows      []row
}

// row is one data record.
type row struct {
	set    uint16
	values map[string][]byte
}

func (r *row) number(name string) (n uint64) {
	for _, b := range r.values[name] {
		n = n<<8 | uint64(b)
	}
	return n
}

func newDecoder() *decoder { return &decoder{templates: map[uint16][]Element{}} }

// message reads one message (RFC 7011, section 3).
func (d *decoder) message(m []byte) error {
	if len(m) < 16 || binary.BigEndian.Uint16(m) != 10 || int(binary.BigEndian.Uint16(m[2:])) != len(m) {
		return fmt.Errorf("a header that is none, of %d bytes", len(m))
	}
	if got := binary.BigEndian.Uint32(m[8:]); got != d.sequence {
		return fmt.Errorf("number %d, want %d", got, d.sequence)
	}
	if domain := binary.BigEndian.Uint32(m[12:]); domain != 7 {
		return fmt.Errorf("domain %d", domain)
	}
	for m = m[16:]; len(m) > 0; {
		if len(m) < 4 {
			return errors.New("a set without a header")
		}
		id, length := binary.BigEndian.Uint16(m), int(binary.BigEndian.Uint16(m[2:]))
		if length < 4 || length > len(m) {
			return fmt.Errorf("set %d of %d bytes, of %d", id, length, len(m))
		}
		var err error
		if id == 2 {
			err = d.template(m[4:length])
		} else {
			err = d.data(id, m[4:length])
		}
		if err != nil {
			return err
		}
		m = m[length:]
	}
	return nil
}

func (d *decoder) template(b []byte) error {
	known := map[[2]uint32]string{
		{152}: "start", {153}: "end", {8}: "src", {12}: "dst", {27}: "src", {28}: "dst", {7}: "src_port", {11}: "dst_port", {4}: "proto",
		{82}: "ifname", {61}: "direction", {239}: "biflow", {6}: "tcp_flags", {2}: "packets", {1}: "bytes", {89}: "status",
		{2, 29305}: "back_packets", {1, 29305}: "back_bytes", {133}: "dropped_packets", {132}: "dropped_bytes",
	}
	for _, e := range ours() {
		known[[2]uint32{uint32(e.ID), 32473}] = e.Name
	}
	for len(b) > 0 {
		id, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		b = b[4:]
		var all []Element
		for range n {
			e := Element{ID: binary.BigEndian.Uint16(b), Length: binary.BigEndian.Uint16(b[2:])}
			b = b[4:]
			if e.ID&(1<<15) != 0 {
				e.ID, e.Enterprise, b = e.ID&^(1<<15), binary.BigEndian.Uint32(b), b[4:]
			}
			if e.Name = known[[2]uint32{uint32(e.ID), e.Enterprise}]; e.Name == "" {
				return fmt.Errorf("element %d of %d is not known", e.ID, e.Enterprise)
			}
			all = append(all, e)
		}
		d.templates[id] = all
	}
	return nil
}

func (d *decoder) data(id uint16, b []byte) error {
	elements := d.templates[id]
	if elements == nil {
		return fmt.Errorf("set %d has no template", id)
	}
	for len(b) > 0 {
		r := row{set: id, values: map[string][]byte{}}
		for _, e := range elements {
			n := int(e.Length)
			if n == 65535 {
				if len(b) == 0 {
					return errors.New("a string without a length")
				}
				if n, b = int(b[0]), b[1:]; n == 255 {
					return errors.New("a long string")
				}
			}
			if n > len(b) {
				return fmt.Errorf("%s of %d bytes, of %d", e.Name, n, len(b))
			}
			r.values[e.Name], b = b[:n], b[n:]
		}
		d.rows = append(d.rows, r)
		d.sequence++
	}
	return nil
}

// sums adds up what arrived, as records call it.
func (d *decoder) sums() map[string]uint64 {
	s := map[string]uint64{
		exporttest.DropPackets: 0, exporttest.DropBytes: 0, exporttest.FlowPacketsIn: 0, exporttest.FlowBytesIn: 0,
		exporttest.FlowPacketsOut: 0, exporttest.FlowBytesOut: 0, exporttest.HostPackets: 0, exporttest.HostBytes: 0,
	}
	for i := range d.rows {
		r := &d.rows[i]
		if r.set == dropsV4 || r.set == dropsV6 {
			s[exporttest.DropPackets] += r.number("dropped_packets")
			s[exporttest.DropBytes] += r.number("dropped_bytes")
			continue
		}
		out, in := "", "back_"
		if r.number("direction") == 0 {
			out, in = in, out
		}
		s[exporttest.FlowPacketsOut] += r.number(out + "packets")
		s[exporttest.FlowBytesOut] += r.number(out + "bytes")
		s[exporttest.FlowPacketsIn] += r.number(in + "packets")
		s[exporttest.FlowBytesIn] += r.number(in + "bytes")
		s[exporttest.HostPackets] += r.number("host_packets")
		s[exporttest.HostBytes] += r.number("host_bytes")
	}
	return s
}

// collector takes what an exporter sends.
type collector struct {
	addr  string
	close func()
	done  chan struct{}
	mu    sync.Mutex
	raw   [][]byte // messages
}

func (c *collector) add(m []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = append(c.raw, m)
}

// decode reads all messages that arrived, in their order.
func (c *collector) decode(t *testing.T) *decoder {
	t.Helper()
	c.close()
	<-c.done
	d := newDecoder()
	for i, m := range c.raw {
		if err := d.message(m); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	return d
}

// listenUDP collects datagrams. They are there when the exporter has sent them.
func listenUDP(t *testing.T) *collector {
	t.Helper()
	need.Root(t) // a buffer for all that comes at once
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	}); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{addr: conn.LocalAddr().String(), done: make(chan struct{})}
	c.close = sync.OnceFunc(func() { _ = conn.SetReadDeadline(time.Now()) })
	go func() {
		defer close(c.done)
		defer conn.Close()
		for over := false; ; {
			m := make([]byte, 2048)
			n, err := conn.Read(m)
			if err == nil {
				c.add(m[:n])
				continue
			}
			if over { // nothing is in the buffer any more
				return
			}
			over = true
			_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		}
	}()
	t.Cleanup(func() { c.close(); <-c.done })
	return c
}

// listenTCP collects the messages of one connection after the other.
func listenTCP(t *testing.T) *collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{addr: l.Addr().String(), done: make(chan struct{})}
	c.close = sync.OnceFunc(func() { l.Close() })
	go func() {
		defer close(c.done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			for {
				m := make([]byte, 16)
				if _, err := io.ReadFull(conn, m); err != nil {
					break
				}
				m = append(m, make([]byte, int(binary.BigEndian.Uint16(m[2:]))-16)...)
				if _, err := io.ReadFull(conn, m[16:]); err != nil {
					break
				}
				c.add(m)
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { c.close(); <-c.done })
	return c
}

func TestExport(t *testing.T) {
	for network, listen := range map[string]func(*testing.T) *collector{"udp": listenUDP, "tcp": listenTCP} {
		t.Run(network, func(t *testing.T) {
			exporttest.Run(t, func(t *testing.T) exporttest.Rig {
				c := listen(t)
				e := New(Config{Network: network, Addr: c.addr, Domain: 7, Queue: 16 << 20, Flush: time.Second})
				return exporttest.Rig{
					Exporter: e, Rows: Rows, Leave: func() { c.close(); <-c.done },
					Received: func(t *testing.T) map[string]uint64 { return c.decode(t).sums() },
				}
			})
		})
	}
}

// pass sends a batch over TCP and returns what arrived.
func pass(t *testing.T, b *record.Batch) []row {
	t.Helper()
	c := listenTCP(t)
	e := New(Config{Network: "tcp", Addr: c.addr, Domain: 7, Queue: 1 << 20})
	if err := e.Batch(b); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return c.decode(t).rows
}

func TestRows(t *testing.T) {
	b := exporttest.Minute()
	b.Flows, b.Drops = b.Flows[2:4], b.Drops[1:2] // curl's; UDP over IPv6
	rows := pass(t, b)
	if len(rows) != 3 {
		t.Fatalf("got %d rows, want 3", len(rows))
	}
	for i, want := range []map[string]string{
		{
			"src": "192.0.2.1", "dst": "198.51.100.7", "src_port": "40443", "dst_port": "443", "proto": "6", "ifname": "eth0", "netns_name": "host",
			"pid": "7", "comm": "curl", "container": "0123456789ab", "container_name": "shop", "pod": "shop-1", "pod_namespace": "prod", "name": "example.com",
			"direction": "1", "biflow": "1", "tcp_flags": "26", "packets": "16", "bytes": "1400", "back_packets": "20", "back_bytes": "18000",
			"dropped_packets": "2", "retransmits": "1", "rtt_us": "1200", "host_packets": "36", "start": fmt.Sprint(b.Start.UnixMilli()), "end": fmt.Sprint(b.End.UnixMilli()),
		},
		// The source began, and its packets came in: they are the forward ones.
		{"src": "2001:db8::1", "dst": "2001:db8::2", "proto": "17", "direction": "0", "packets": "6", "bytes": "600", "back_packets": "0"},
		{
			"src": "2001:db8::1", "dst": "2001:db8::2", "status": "128", "dropped_packets": "2", "dropped_bytes": "500", "reason": "SOCKET_RCVBUFF",
			"verdict": "resource", "location": "__udp_enqueue_schedule_skb+0x20", "direction": "0", "comm": "nginx",
		},
	} {
		for name, value := range want {
			if got := text(&rows[i], name); got != value {
				t.Errorf("row %d, %s: got %s, want %s", i, name, got, value)
			}
		}
	}
	strange := pass(t, &record.Batch{Flows: []record.Flow{
		{Endpoints: record.Endpoints{Proto: "arp"}}, {Endpoints: record.Endpoints{Proto: "ip-253", SrcAddr: netip.MustParseAddr("fe80::1%eth0")}},
		{Endpoints: record.Endpoints{Proto: "icmpv6", Owner: record.Owner{Cgroup: strings.Repeat("é", 200)}}, Direction: record.Forward},
	}})
	for i, want := range []string{"255", "58", "253"} { // those of IPv4 come first
		if got := text(&strange[i], "proto"); got != want {
			t.Errorf("row %d: got protocol %s, want %s", i, got, want)
		}
	}
	if got := text(&strange[1], "cgroup"); got != strings.Repeat("é", 48) || text(&strange[1], "biflow") != "0" {
		t.Errorf("got cgroup %q, biflow %s", got, text(&strange[1], "biflow"))
	}
}

// text is a value as a reader would write it.
func text(r *row, name string) string {
	v := r.values[name]
	switch name {
	case "src", "dst":
		a, _ := netip.AddrFromSlice(v)
		return a.String()
	case "ifname", "netns_name", "comm", "cgroup", "container", "container_name", "pod", "pod_namespace", "name", "reason", "verdict", "location":
		return string(v)
	}
	return fmt.Sprint(r.number(name))
}

// TestTemplatesComeAgain over UDP, where a collector may have begun later.
func TestTemplatesComeAgain(t *testing.T) {
	c := listenUDP(t)
	e := New(Config{Network: "udp", Addr: c.addr, Domain: 7, Templates: time.Nanosecond, Queue: 1 << 20})
	for range 5 {
		if err := e.Batch(exporttest.Minute()); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	c.decode(t)
	n, after := 0, false
	for _, m := range c.raw {
		is := binary.BigEndian.Uint16(m[16:]) == 2
		if !is && !after {
			t.Error("data come without templates before them")
		}
		if after = is; is {
			n++
		}
		if len(m) > maxDatagram {
			t.Errorf("a datagram of %d bytes", len(m))
		}
	}
	if 2*n != len(c.raw) || n < 5 {
		t.Errorf("got %d templates in %d messages, want one for each", n, len(c.raw))
	}
}

// TestReconnects has nobody listen at first.
func TestReconnects(t *testing.T) {
	// Bound, so that nobody else takes the port.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	e := New(Config{Network: "tcp", Addr: fmt.Sprintf("127.0.0.1:%d", bound.(*unix.SockaddrInet4).Port), Domain: 7, Queue: 1 << 20})
	defer e.Close()
	if err := e.Batch(exporttest.Minute()); err != nil {
		t.Fatal(err)
	}
	until := func(what string, holds func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not %s: %+v", what, e.Status())
			}
		}
	}
	until("told that nobody listens", func() bool { return strings.Contains(e.Status().Fault, "connection refused") })
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	until("sent", func() bool { return e.Status().Sent == Rows(exporttest.Minute()) })
	if s := e.Status(); s.Fault != "" || s.Waiting != 0 || len(s.Lost) != 0 {
		t.Errorf("got %+v", s)
	}
}

// FuzzFlow writes flows of whatever comes, and reads the same back.
func FuzzFlow(f *testing.F) {
	f.Add("curl", "eth0", "tcp", "SPA", []byte{192, 0, 2, 1}, []byte{198, 51, 100, 7}, uint64(1), uint64(2), uint16(443), "in")
	f.Add("\xff", strings.Repeat("é", 300), "ip-7", "", []byte{}, make([]byte, 16), uint64(1)<<63, uint64(0), uint16(0), "forward")
	e := &Exporter{protocols: protocols()}
	f.Fuzz(func(t *testing.T, comm, ifname, proto, flags string, src, dst []byte, in, out uint64, port uint16, direction string) {
		a, _ := netip.AddrFromSlice(src)
		b, _ := netip.AddrFromSlice(dst)
		flow := record.Flow{
			Endpoints: record.Endpoints{IfName: ifname, Proto: proto, SrcAddr: a, DstAddr: b, DstPort: port, Owner: record.Owner{Comm: comm}},
			Direction: record.Direction(direction), PacketsIn: in, PacketsOut: out, TCPFlags: flags,
		}
		d := newDecoder()
		set := setOf(flowsV4, isV4(&flow.Endpoints))
		if err := d.template(appendTemplates(nil, templateSet, Templates(DefaultEnterprise))[4:]); err != nil {
			t.Fatal(err)
		}
		if err := d.data(set, e.appendFlow(nil, &flow)); err != nil {
			t.Fatal(err)
		}
		if len(d.rows) != 1 {
			t.Fatalf("got %d rows of one flow", len(d.rows))
		}
		r := &d.rows[0]
		if flow.Direction == record.In {
			in, out = out, in
		}
		if r.number("packets") != out || r.number("back_packets") != in || r.number("dst_port") != uint64(port) {
			t.Errorf("got %v", r.values)
		}
	})
}
