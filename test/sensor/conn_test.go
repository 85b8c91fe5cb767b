package sensor

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/sensor/conn"
	"github.com/netfate/netfate/internal/sensor/owner"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// connRow is what a test compares of a row: not when, and not how fast.
type connRow struct {
	NetNS           string // as the lab calls it
	Port            uint16 // the server's
	What, Role      string
	In, Out         uint64
	ClosedBy, Error string
	Family          uint16
}

func connNames() (what, role map[uint8]string) {
	return map[uint8]string{decode.ConnOpened: "opened", decode.ConnFailed: "failed", decode.ConnClosed: "closed"},
		map[uint8]string{decode.ConnClient: "client", decode.ConnServer: "server"}
}

// watchConns starts the sensor beside owners'; the test ends both.
func watchConns(t *testing.T, without []string) (*conn.Sensor, *owner.Sensor) {
	t.Helper()
	owners, err := owner.New(owner.Config{CgroupRoot: kernel.ReadMounts().Cgroup2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, owners.Close()) })
	check(t, owners.Attach())
	s, err := conn.New(conn.Config{Owners: owners.Owners(), Without: without})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, s.Close()) })
	check(t, s.Attach())
	return s, owners
}

// changes reads the ring's rows of the namespaces.
func changes(t *testing.T, s *conn.Sensor, in map[string]uint32) (rows []decode.ConnEvent) {
	t.Helper()
	for {
		var e decode.ConnEvent
		ok, err := s.Next(time.Now(), &e)
		check(t, err)
		if !ok {
			return rows
		}
		if has(in, e.Conn.NetNS) {
			rows = append(rows, e)
		}
	}
}

func summaries(rows []decode.ConnEvent, in map[string]uint32) (all []connRow) {
	what, role := connNames()
	names := map[uint32]string{}
	for name, inode := range in {
		names[inode] = name
	}
	for i := range rows {
		e := &rows[i]
		sides := e.Sides()
		all = append(all, connRow{
			NetNS: names[e.Conn.NetNS], Port: sides.DstPort, What: what[e.What], Role: role[e.Conn.Role],
			In: e.PayloadIn(), Out: e.PayloadOut(), ClosedBy: e.ClosedBy(), Error: e.Error(), Family: sides.EthProto,
		})
	}
	slices.SortStableFunc(all, func(a, b connRow) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.NetNS, b.NetNS))
	})
	return all
}

// The ports of the connections that TestConnsEachWay makes.
const (
	clientEnds = 2000 + iota // the client closes first
	serverEnds
	clientResets
	nobody   // listens there
	dropped  // its SYNs are
	rejected // by a firewall
	gaveUp   // like dropped, and the program does not wait
	noPort   // none is left on the client
	noRoute
	overIPv6
)

const (
	ask    = 1000  // bytes that a client sends
	answer = 50000 // bytes that a server sends
)

// TestConnsEachWay makes connections of each kind, and wants the same rows of
// them whether functions are watched or tracepoints alone, but for connects that
// never get as far as a tracepoint.
func TestConnsEachWay(t *testing.T) {
	need.Root(t)
	for _, way := range []struct {
		name    string
		without []string
		routes  bool // a connect without a route is told
	}{
		{"functions", nil, true},
		{"tracepoints", []string{"fexit"}, false},
	} {
		t.Run(way.name, func(t *testing.T) {
			if way.routes {
				need.Capability(t, "fexit")
			}
			testConns(t, way.without, way.routes)
		})
	}
}

func testConns(t *testing.T, without []string, routes bool) {
	lab := netlab.New(t)
	client, server := lab.NetNS("client"), lab.NetNS("server")
	client.IPv6()
	server.IPv6()
	lab.Veth(client, "eth0", server, "eth0")
	client.Addr("eth0", "10.0.0.1/24")
	server.Addr("eth0", "10.0.0.2/24")
	client.Addr("eth0", "fd00::1/64")
	server.Addr("eth0", "fd00::2/64")
	client.Sysctl("net/ipv4/tcp_syn_retries", "1")
	server.NFT(fmt.Sprintf(`table inet t { chain in { type filter hook input priority 0;
		tcp dport { %d, %d } drop
		tcp dport %d limit rate 1/hour burst 1 packets drop
		tcp dport %d reject with icmp type host-unreachable
	}; }`, dropped, gaveUp, rejected, rejected)) // not the first, or the answer would come while connect runs
	in := lab.Inodes()
	s, _ := watchConns(t, without)

	converse(client, server, "10.0.0.2", clientEnds, true)
	converse(client, server, "10.0.0.2", serverEnds, false)
	converse(client, server, "[fd00::2]", overIPv6, true)
	reset(client, server)
	for port, patience := range map[int]time.Duration{
		nobody: time.Minute, dropped: time.Minute, rejected: time.Minute, gaveUp: 100 * time.Millisecond,
	} {
		if _, err := client.TryDialTCP(fmt.Sprintf("10.0.0.2:%d", port), patience); err == nil {
			t.Errorf("port %d: connected", port)
		}
	}
	if _, err := client.TryDialTCP(fmt.Sprintf("192.0.2.1:%d", noRoute), time.Minute); err == nil {
		t.Error("connected without a route")
	}
	exhaust(client, server)

	const v4, v6 = 0x0800, 0x86dd
	want := []connRow{
		{"client", clientEnds, "opened", "client", 0, 0, "", "", v4},
		{"client", clientEnds, "closed", "client", answer, ask, "local", "", v4},
		{"server", clientEnds, "opened", "server", 0, 0, "", "", v4},
		{"server", clientEnds, "closed", "server", ask, answer, "peer", "", v4},
		{"client", serverEnds, "opened", "client", 0, 0, "", "", v4},
		{"client", serverEnds, "closed", "client", answer, ask, "peer", "", v4},
		{"server", serverEnds, "opened", "server", 0, 0, "", "", v4},
		{"server", serverEnds, "closed", "server", ask, answer, "local", "", v4},
		{"client", clientResets, "opened", "client", 0, 0, "", "", v4},
		{"client", clientResets, "closed", "client", 0, ask, "local_reset", "", v4},
		{"server", clientResets, "opened", "server", 0, 0, "", "", v4},
		{"server", clientResets, "closed", "server", ask, 0, "peer_reset", "reset", v4},
		{"client", nobody, "failed", "client", 0, 0, "", "refused", v4},
		{"client", dropped, "failed", "client", 0, 0, "", "timed_out", v4},
		{"client", rejected, "failed", "client", 0, 0, "", "host_unreachable", v4},
		{"client", gaveUp, "failed", "client", 0, 0, "", "aborted", v4},
		{"client", noPort, "opened", "client", 0, 0, "", "", v4},
		{"client", noPort, "failed", "client", 0, 0, "", "no_local_port", v4},
		{"client", noPort, "failed", "client", 0, 0, "", "no_local_port", v4},
		{"client", noPort, "failed", "client", 0, 0, "", "no_local_port", v4},
		{"client", noPort, "closed", "client", 0, 0, "peer", "", v4},
		{"server", noPort, "opened", "server", 0, 0, "", "", v4},
		{"server", noPort, "closed", "server", 0, 0, "local", "", v4},
		{"client", overIPv6, "opened", "client", 0, 0, "", "", v6},
		{"client", overIPv6, "closed", "client", answer, ask, "local", "", v6},
		{"server", overIPv6, "opened", "server", 0, 0, "", "", v6},
		{"server", overIPv6, "closed", "server", ask, answer, "peer", "", v6},
	}
	if routes {
		want = slices.Insert(want, len(want)-4, connRow{"client", noRoute, "failed", "client", 0, 0, "", "net_unreachable", v4})
	}
	var rows []decode.ConnEvent
	netlab.WaitFor(t, "every connection to end", func() bool {
		rows = append(rows, changes(t, s, in)...)
		return len(rows) >= len(want)
	})
	if diff := gocmp.Diff(want, summaries(rows, in)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	for i := range rows {
		judgeConn(t, &rows[i])
	}
}

// judgeConn holds what a row has beside what is compared exactly.
func judgeConn(t *testing.T, e *decode.ConnEvent) {
	t.Helper()
	sides := e.Sides()
	who := fmt.Sprintf("port %d, what %d, role %d", sides.DstPort, e.What, e.Conn.Role)
	// Without socket storage an accepted socket has no owner before it is used.
	unused := e.Conn.Role == decode.ConnServer && e.Conn.Owner.PID == 0 && !capabilities()["sk_storage"]
	if e.Conn.Owner.PID != uint32(os.Getpid()) && !unused {
		t.Errorf("%s: got process %d, want this one, %d", who, e.Conn.Owner.PID, os.Getpid())
	}
	if sides.SrcPort == 0 && e.Error() != "no_local_port" && e.Error() != "net_unreachable" {
		t.Errorf("%s: got no client's port", who)
	}
	if e.Conn.Start == 0 || e.Time < e.Conn.Start || e.What != decode.ConnFailed && e.Conn.Established < e.Conn.Start {
		t.Errorf("%s: got start %d, established %d, now %d", who, e.Conn.Start, e.Conn.Established, e.Time)
	}
	if rtt, least, _ := e.RTT(); e.What == decode.ConnClosed && e.PayloadOut() > 0 && (rtt == 0 || least == 0 || least > rtt) {
		t.Errorf("%s: got %d µs of round trip, at least %d", who, rtt, least)
	}
}

// converse lets a client ask and a server answer. Then one of them closes, and
// the other when it sees that.
func converse(client, server *netlab.NetNS, addr string, port int, clientFirst bool) {
	to := fmt.Sprintf("%s:%d", addr, port)
	listener := server.ListenTCP(to)
	defer listener.Close()
	here := client.DialTCP(to)
	there, err := listener.AcceptTCP()
	server.Must("accept", err)
	_, err = here.Write(make([]byte, ask))
	client.Must("ask", err)
	_, err = io.CopyN(io.Discard, there, ask)
	server.Must("read", err)
	_, err = there.Write(make([]byte, answer))
	server.Must("answer", err)
	_, err = io.CopyN(io.Discard, here, answer)
	client.Must("read", err)
	first, second := here, there
	if !clientFirst {
		first, second = there, here
	}
	first.Close()
	_, err = second.Read(make([]byte, 1))
	if !errors.Is(err, io.EOF) {
		client.Must("see the end", err)
	}
	second.Close()
}

// reset lets a client ask and then end with a reset.
func reset(client, server *netlab.NetNS) {
	to := fmt.Sprintf("10.0.0.2:%d", clientResets)
	listener := server.ListenTCP(to)
	defer listener.Close()
	here := client.DialTCP(to)
	there, err := listener.AcceptTCP()
	server.Must("accept", err)
	_, err = here.Write(make([]byte, ask))
	client.Must("ask", err)
	_, err = io.CopyN(io.Discard, there, ask)
	server.Must("read", err)
	client.Must("set linger", here.SetLinger(0))
	here.Close()
	_, _ = there.Read(make([]byte, 1)) // waits for it
	there.Close()
}

// exhaust leaves the client one port and connects twice to the same place. Package
// net tries that three times.
func exhaust(client, server *netlab.NetNS) {
	to := fmt.Sprintf("10.0.0.2:%d", noPort)
	client.Sysctl("net/ipv4/ip_local_port_range", "40000 40000")
	listener := server.ListenTCP(to)
	defer listener.Close()
	here := client.DialTCP(to)
	there, err := listener.AcceptTCP()
	server.Must("accept", err)
	if _, err := client.TryDialTCP(to, time.Minute); err == nil {
		client.Must("run out of ports", net.ErrClosed)
	}
	there.Close()
	_, _ = here.Read(make([]byte, 1))
	here.Close()
}

// BenchmarkConnections opens and closes connections, without the sensor and
// with it: what a connection costs more is the sensor's. Run it with -count, the
// two take turns.
func BenchmarkConnections(b *testing.B) {
	need.Root(b)
	lab := netlab.New(b)
	host := lab.NetNS("host")
	host.Up("lo")
	listener := host.ListenTCP("127.0.0.1:9000")
	for _, on := range []bool{false, true} {
		b.Run(map[bool]string{false: "off", true: "on"}[on], func(b *testing.B) {
			if on {
				owners, err := owner.New(owner.Config{CgroupRoot: kernel.ReadMounts().Cgroup2})
				check(b, err)
				defer owners.Close()
				check(b, owners.Attach())
				s, err := conn.New(conn.Config{Owners: owners.Owners()})
				check(b, err)
				defer s.Close()
				check(b, s.Attach())
			}
			b.ResetTimer()
			host.Do(func() error {
				for range b.N {
					out, err := net.Dial("tcp", "127.0.0.1:9000")
					if err != nil {
						return err
					}
					in, err := listener.AcceptTCP()
					if err != nil {
						return err
					}
					// A reset leaves no TIME_WAIT, and so a port for the next.
					if err := errors.Join(out.(*net.TCPConn).SetLinger(0), out.Close(), in.Close()); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}
