package sensor

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/sensor/conn"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// openRow is what a test compares of a connection or listener that is open.
type openRow struct {
	Role    uint8
	Older   bool
	State   string
	In, Out uint64
}

// openKey is whose it is: the namespace and the local port, which a listener
// shares with those that nobody has accepted from it.
type openKey struct {
	NetNS   string
	Port    uint16
	Listens bool
}

// overflows is the port of a listener that accepts nothing.
const overflows = 3002

func openRows(t *testing.T, s *conn.Sensor, in map[string]uint32) map[openKey]decode.ConnEvent {
	t.Helper()
	names := map[uint32]string{}
	for name, inode := range in {
		names[inode] = name
	}
	rows := map[openKey]decode.ConnEvent{}
	check(t, s.Open(func(e *decode.ConnEvent) {
		name, ours := names[e.Conn.NetNS]
		if !ours {
			return
		}
		key := openKey{name, e.Conn.SrcPort, e.Conn.Role == decode.ConnListener}
		if _, twice := rows[key]; twice && key.Port != overflows {
			t.Errorf("%+v is listed twice", key)
		}
		rows[key] = *e
	}))
	return rows
}

// TestOpenConns lists connections and listeners, older than the sensor and
// newer, by the table's iterator and by that over files.
func TestOpenConns(t *testing.T) {
	need.Root(t)
	for _, way := range []struct {
		name    string
		without []string
	}{{"table", nil}, {"files", []string{"iter_map_elem"}}} {
		t.Run(way.name, func(t *testing.T) {
			if way.without == nil {
				need.Capability(t, "iter_map_elem")
			}
			testOpenConns(t, way.without)
		})
	}
}

func testOpenConns(t *testing.T, without []string) {
	lab := netlab.New(t)
	client, server := lab.NetNS("client"), lab.NetNS("server")
	lab.Veth(client, "eth0", server, "eth0")
	client.Addr("eth0", "10.0.0.1/24")
	server.Addr("eth0", "10.0.0.2/24")
	in := lab.Inodes()
	server.ListenTCP("10.0.0.2:4000")
	olderOut, olderIn := netlab.ConnectTCP(client, server, "10.0.0.2:3000")
	s, _ := watchConns(t, without)
	server.ListenTCP("10.0.0.2:4001")
	newerOut, newerIn := netlab.ConnectTCP(client, server, "10.0.0.2:3001")
	for _, c := range []*net.TCPConn{olderOut, newerOut} {
		_, err := c.Write(make([]byte, ask))
		client.Must("ask", err)
	}
	for _, c := range []*net.TCPConn{olderIn, newerIn} {
		_, err := io.CopyN(io.Discard, c, ask)
		server.Must("read", err)
		// So that the peer has acknowledged all, and a segment of its own.
		_, err = c.Write(make([]byte, ask))
		server.Must("answer", err)
	}
	for _, c := range []*net.TCPConn{olderOut, newerOut} {
		_, err := io.CopyN(io.Discard, c, ask)
		client.Must("read", err)
	}
	port := func(c *net.TCPConn) uint16 { return netip.MustParseAddrPort(c.LocalAddr().String()).Port() }
	want := map[openKey]openRow{
		{"client", port(olderOut), false}: {decode.ConnClient, true, "established", ask, ask},
		{"client", port(newerOut), false}: {decode.ConnClient, false, "established", ask, ask},
		{"server", 3000, false}:           {decode.ConnServer, true, "established", ask, ask},
		{"server", 3001, false}:           {decode.ConnServer, false, "established", ask, ask},
		{"server", 4000, true}:            {decode.ConnListener, true, "listen", 0, 0},
		{"server", 4001, true}:            {decode.ConnListener, false, "listen", 0, 0},
	}
	got := map[openKey]openRow{}
	netlab.WaitFor(t, "everything to be acknowledged", func() bool {
		got = map[openKey]openRow{}
		for key, e := range openRows(t, s, in) {
			got[key] = openRow{e.Conn.Role, e.Conn.Flags&decode.ConnOlder != 0, decode.SocketState(e.State), e.PayloadIn(), e.PayloadOut()}
		}
		return gocmp.Equal(want, got)
	})
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("open connections (-want +got):\n%s", diff)
	}
}

// TestListenerOverflow fills the queue of a listener that accepts nothing, and
// wants its numbers to be those of the kernel's own counters.
func TestListenerOverflow(t *testing.T) {
	need.Root(t)
	lab := netlab.New(t)
	client, server := lab.NetNS("client"), lab.NetNS("server")
	lab.Veth(client, "eth0", server, "eth0")
	client.Addr("eth0", "10.0.0.1/24")
	server.Addr("eth0", "10.0.0.2/24")
	server.Sysctl("net/ipv4/tcp_syncookies", "0")
	s, _ := watchConns(t, nil)
	const room = 2
	socket := server.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	server.Must("bind", unix.Bind(socket.FD, &unix.SockaddrInet4{Addr: [4]byte{10, 0, 0, 2}, Port: overflows}))
	server.Must("listen", unix.Listen(socket.FD, room))
	for range room + 1 { // the kernel takes one more than it was told
		client.DialTCP(fmt.Sprintf("10.0.0.2:%d", overflows))
	}
	var e decode.ConnEvent
	netlab.WaitFor(t, "connections to be dropped", func() bool {
		_, _ = client.TryDialTCP(fmt.Sprintf("10.0.0.2:%d", overflows), 100*time.Millisecond)
		e = openRows(t, s, lab.Inodes())[openKey{"server", overflows, true}]
		return e.Overflows > 0
	})
	if e.Conn.Role != decode.ConnListener || e.Backlog != room+1 || e.BacklogMax != room || e.RwndLimited != 0 {
		t.Errorf("got role %d, %d of %d waiting, cookies %d jiffies ago, want %d of %d and none", e.Conn.Role, e.Backlog, e.BacklogMax, e.RwndLimited, room+1, room)
	}
	netlab.WaitFor(t, "the counters to agree", func() bool {
		e = openRows(t, s, lab.Inodes())[openKey{"server", overflows, true}]
		return uint64(e.Overflows) == server.Counter("TcpExt", "ListenDrops")
	})
}

// TestSYNCookies wants to be told that a listener sends SYN cookies, and when: where
// handshakes fill its queue, where they are sent always, and where listeners share
// a port.
func TestSYNCookies(t *testing.T) {
	need.Root(t)
	for name, c := range map[string]struct {
		always, shared bool
	}{"a full queue": {}, "a full queue of several": {shared: true}, "always": {always: true}} {
		t.Run(name, func(t *testing.T) {
			lab := netlab.New(t)
			client, server := lab.NetNS("client"), lab.NetNS("server")
			lab.Veth(client, "eth0", server, "eth0")
			client.Addr("eth0", "10.0.0.1/24")
			server.Addr("eth0", "10.0.0.2/24")
			mode := "1"
			if c.always {
				mode = "2"
			} else { // handshakes never end
				client.NFT(`table ip f { chain c { type filter hook input priority 0; tcp sport 3002 drop; }; }`)
			}
			server.Sysctl("net/ipv4/tcp_syncookies", mode)
			s, _ := watchConns(t, nil)
			for range 2 {
				socket := server.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
				if c.shared {
					server.Must("share the port", unix.SetsockoptInt(socket.FD, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
				}
				server.Must("bind", unix.Bind(socket.FD, &unix.SockaddrInet4{Addr: [4]byte{10, 0, 0, 2}, Port: overflows}))
				server.Must("listen", unix.Listen(socket.FD, 2))
				if !c.shared {
					break
				}
			}
			listener := openKey{"server", overflows, true}
			if e := openRows(t, s, lab.Inodes())[listener]; e.Conn.Role != decode.ConnListener || e.RwndLimited != 0 {
				t.Fatalf("before: got role %d, cookies %d jiffies ago, want a listener, and none", e.Conn.Role, e.RwndLimited)
			}
			netlab.WaitFor(t, "cookies to be sent", func() bool {
				_, _ = client.TryDialTCP(fmt.Sprintf("10.0.0.2:%d", overflows), 20*time.Millisecond)
				return server.Counter("TcpExt", "SyncookiesSent") > 0
			})
			// CONFIG_HZ is 1,000 at most; the kernel's note may be a second old.
			if e := openRows(t, s, lab.Inodes())[listener]; e.RwndLimited == 0 || e.RwndLimited > 20_000 {
				t.Errorf("got cookies %d jiffies ago, want some, and not long ago", e.RwndLimited)
			} else if !c.always && !c.shared && (e.Window < 2 || e.Window > 3) { // newer kernels take one more than they were told
				t.Errorf("got %d handshakes that wait, want 2 or 3", e.Window)
			}
		})
	}
}
