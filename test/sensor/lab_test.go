package sensor

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"os"
	"testing"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/filter"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/sensor/drop"
	"github.com/netfate/netfate/internal/sensor/flow"
	"github.com/netfate/netfate/test/netlab"
)

func freeArgs(t *testing.T) kernel.FreeArgs {
	t.Helper()
	spec, err := kernel.LoadBTF()
	if err != nil {
		t.Fatal(err)
	}
	args, err := kernel.KfreeSKBArgs(spec)
	if err != nil {
		t.Fatal(err)
	}
	return args
}

func compile(t *testing.T, expr string) *filter.Pair {
	t.Helper()
	pair, err := filter.Programs(t.Context(), expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	return pair
}

// flowsOf starts a flow sensor; the test ends it.
func flowsOf(t *testing.T, cfg flow.Config) *flow.Sensor {
	t.Helper()
	s, err := flow.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, s.Close()) })
	check(t, s.Attach())
	return s
}

// dropsOf starts a drop sensor; the test ends it.
func dropsOf(t *testing.T, cfg drop.Config) *drop.Sensor {
	t.Helper()
	cfg.Args = freeArgs(t)
	s, err := drop.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, s.Close()) })
	check(t, s.Attach())
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// amount is what a test compares of a count: not when, and not whose.
type amount struct {
	Packets, Bytes, Buffers, BufferBytes uint64
	TCPFlags                             uint8
}

// flows adds up everything that s has counted in the namespaces, after it was
// taken off.
func flows(t *testing.T, s *flow.Sensor, in map[string]uint32) map[decode.FlowKey]amount {
	t.Helper()
	check(t, s.Detach())
	all := map[decode.FlowKey]amount{}
	for range 2 { // both generations
		check(t, s.Poll(func(k *decode.FlowKey, c *decode.FlowCount) {
			if !has(in, k.NetNS) || isReport(&k.Tuple) {
				return
			}
			a := all[*k]
			a.Packets, a.Bytes = a.Packets+c.Packets, a.Bytes+c.Bytes
			a.Buffers, a.BufferBytes = a.Buffers+c.Buffers, a.BufferBytes+c.BufferBytes
			a.TCPFlags |= c.TCPFlags
			all[*k] = a
		}))
	}
	losses, err := s.Losses()
	if err != nil || len(losses) > 0 {
		t.Errorf("flows: lost %+v, error %v", losses, err)
	}
	return all
}

// drops is flows for a drop sensor.
func drops(t *testing.T, s *drop.Sensor, in map[string]uint32) map[decode.DropKey]amount {
	t.Helper()
	check(t, s.Detach())
	all := map[decode.DropKey]amount{}
	for range 2 {
		check(t, s.Poll(func(k *decode.DropKey, c *decode.DropCount) {
			if !has(in, k.NetNS) || isReport(&k.Tuple) {
				return
			}
			a := all[*k]
			a.Packets, a.Bytes, a.Buffers = a.Packets+c.Packets, a.Bytes+c.Bytes, a.Buffers+c.Buffers
			a.TCPFlags |= c.TCPFlags
			all[*k] = a
		}))
	}
	losses, err := s.Losses()
	if err != nil || len(losses) > 0 {
		t.Errorf("drops: lost %+v, error %v", losses, err)
	}
	return all
}

// isReport tells the kernel's own group reports (MLD, RFC 2710 and 3810), which
// come seconds after an interface does: sensors that are attached one after the
// other have not all seen the same of them.
func isReport(t *decode.Tuple) bool {
	const icmpv6, report, report2 = 58, 131, 143
	kind := t.SrcPort >> 8
	return t.Proto == icmpv6 && (kind == report || kind == report2)
}

func has(in map[string]uint32, inode uint32) bool {
	for _, n := range in {
		if n == inode {
			return true
		}
	}
	return false
}

// network is two namespaces and a cable: 10.0.0.1 and fd00::1 at a, 10.0.0.2
// and fd00::2 at b. A second cable, v0 to v1, has no addresses, and b drops
// what comes by it.
type network struct {
	lab  *netlab.Lab
	a, b *netlab.NetNS
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	lab := netlab.New(t)
	n := &network{lab, lab.NetNS("a"), lab.NetNS("b")}
	n.a.IPv6()
	n.b.IPv6()
	lab.Veth(n.a, "eth0", n.b, "eth0")
	// No IPv6 on the second cable, which would talk by itself.
	n.a.Sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	n.b.Sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	lab.Veth(n.a, "v0", n.b, "v1")
	n.a.Addr("eth0", "10.0.0.1/24")
	n.b.Addr("eth0", "10.0.0.2/24")
	n.a.Addr("eth0", "fd00::1/64")
	n.b.Addr("eth0", "fd00::2/64")
	n.a.Neigh("eth0", "10.0.0.2", n.b.MAC("eth0"))
	n.b.Neigh("eth0", "10.0.0.1", n.a.MAC("eth0"))
	n.a.Neigh("eth0", "fd00::2", n.b.MAC("eth0"))
	n.b.Neigh("eth0", "fd00::1", n.a.MAC("eth0"))
	n.b.NFT("table netdev t {\nchain c {\ntype filter hook ingress device \"v1\" priority 0; policy drop;\n}\n}")
	return n
}

// frame is a UDP packet of the second cable, with a VLAN tag unless tag is 0.
// Its source port is 1000 and the VLAN, since a flow has no other trace of it.
func (n *network) frame(tag uint16) []byte {
	return netlab.Frame{
		SrcMAC: n.a.MAC("v0"), DstMAC: n.b.MAC("v1"), VLAN: tag, Proto: netlab.ProtoUDP,
		Src: netip.AddrPortFrom(netip.MustParseAddr("10.1.0.1"), 1000+tag), Dst: netip.MustParseAddrPort("10.1.0.2:9"), Payload: make([]byte, 100),
	}.Bytes()
}

// What traffic sends, in packets.
const (
	discard4, discard6, other4, tagged, untagged = 5, 4, 3, 7, 2

	vlan = 5
)

// traffic loses packets of all kinds: at closed ports of both families, and at
// the end of the second cable with and without a tag. It exchanges some more.
func (n *network) traffic(t *testing.T) {
	t.Helper()
	n.a.Datagrams("10.0.0.2:9", discard4, 100)
	n.a.Datagrams("[fd00::2]:9", discard6, 100)
	n.a.Datagrams("10.0.0.2:10", other4, 100)
	socket := n.a.Packets("v0", 0)
	for range tagged {
		socket.Send(n.frame(vlan))
	}
	for range untagged {
		socket.Send(n.frame(0))
	}
	n.connection(t)
	// The closed ports' answers, and the last of the connection, come by the
	// same queues as what was awaited so far.
	netlab.WaitFor(t, "the connection to be over at both ends", func() bool {
		var table []byte
		n.b.Do(func() (err error) {
			table, err = os.ReadFile("/proc/thread-self/net/tcp")
			return err
		})
		return !bytes.Contains(table, []byte(":0050 "))
	})
}

// connection sends 20 kB and closes both ends.
func (n *network) connection(t *testing.T) {
	t.Helper()
	out, in := netlab.ConnectTCP(n.a, n.b, "10.0.0.2:80")
	_, err := out.Write(make([]byte, 20_000))
	check(t, errors.Join(err, out.CloseWrite()))
	_, err = io.Copy(io.Discard, in)
	check(t, errors.Join(err, in.Close()))
	_, err = io.Copy(io.Discard, out)
	check(t, errors.Join(err, out.Close()))
}
