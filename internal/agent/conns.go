package agent

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/filter"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/sensor/conn"
	"github.com/netfate/netfate/internal/table"
)

// maxConnRows bounds the changes of connections, and the open ones, that are
// kept in one interval: some 20 MB each.
const maxConnRows = 100_000

// conns collects what the connection sensor tells in one interval. It belongs
// to the pump.
type conns struct {
	sensor *conn.Sensor
	open   bool // those that are open are told too, each interval
	filter *filter.Pair
	// sockets is nil where no flows are watched.
	sockets *sockets

	rows    []decode.ConnEvent
	omitted uint64
}

// read takes the changes that wait in the ring.
func (c *conns) read() error {
	now := time.Now()
	for {
		var e decode.ConnEvent
		ok, err := c.sensor.Next(now, &e)
		if err != nil || !ok {
			return err
		}
		c.sockets.take(&e)
		c.keep(&e)
	}
}

func (c *conns) keep(e *decode.ConnEvent) {
	if !matches(c.filter, e.Sides()) {
		return
	}
	if len(c.rows) >= maxConnRows {
		c.omitted++
		return
	}
	c.rows = append(c.rows, *e)
}

// end takes the last changes of an interval, and those that are open at its end.
func (c *conns) end() error {
	now := time.Now()
	if err := c.read(); err != nil || !c.open && !c.sockets.due(now) {
		return err
	}
	defer c.sockets.list(now)()
	changes := len(c.rows)
	var more uint64
	err := c.sensor.Open(func(e *decode.ConnEvent) {
		c.sockets.take(e)
		if !c.open || !matches(c.filter, e.Sides()) {
			return
		}
		if len(c.rows)-changes >= maxConnRows {
			more++
			return
		}
		c.rows = append(c.rows, *e)
	})
	c.omitted += more
	return err
}

// matches reports whether an expression selects a connection: a packet of it,
// of either way, as far as addresses and ports make one. A nil pair selects all.
func matches(pair *filter.Pair, t decode.Tuple) bool {
	if pair == nil {
		return true
	}
	for _, way := range []decode.Tuple{t, t.Reversed()} {
		packet := synthetic(&way)
		if filter.Match(pair, filter.Raw, packet, len(packet)) {
			return true
		}
	}
	return false
}

// synthetic is the headers of a TCP segment without flags, or of a UDP datagram:
// IPv4 or IPv6.
func synthetic(t *decode.Tuple) []byte {
	const tcpLen, udpLen, ipv4Len, ipv6Len = 20, 8, 20, 40
	transport := make([]byte, tcpLen)
	transport[12] = tcpLen / 4 << 4
	proto := byte(protoTCP)
	if t.Proto == protoUDP {
		transport, proto = transport[:udpLen], protoUDP
		transport[5] = udpLen
	}
	binary.BigEndian.PutUint16(transport, t.SrcPort)
	binary.BigEndian.PutUint16(transport[2:], t.DstPort)
	var ip []byte
	if t.EthProto == etherIPv4 {
		ip = make([]byte, ipv4Len, ipv4Len+tcpLen)
		ip[0], ip[8], ip[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(ip[2:], uint16(ipv4Len+len(transport)))
		copy(ip[12:], t.Src[12:])
		copy(ip[16:], t.Dst[12:])
	} else {
		ip = make([]byte, ipv6Len, ipv6Len+tcpLen)
		ip[0], ip[6], ip[7] = 0x60, proto, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(len(transport)))
		copy(ip[8:], t.Src[:])
		copy(ip[24:], t.Dst[:])
	}
	return append(ip, transport...)
}

// wantConns asks the enrichers for what the rows of this interval will need.
func (l *live) wantConns() {
	for i := range l.conns.rows {
		c := &l.conns.rows[i].Conn
		l.names.want(c.NetNS, 0, l.connOwner(c))
	}
}

// connOwner is whose a connection is: who uses its socket, or who bound its
// address, if nobody has used it yet.
func (l *live) connOwner(c *decode.Conn) decode.OwnerRef {
	if c.Owner.PID != 0 {
		return c.Owner
	}
	pair := table.PairOf(&c.Tuple, c.NetNS, true, false)
	o, _ := l.names.Owner(&pair)
	return o
}

func (l *live) rollConns(b *record.Batch) {
	c := &l.conns
	b.Conns = make([]record.Conn, 0, len(c.rows))
	for i := range c.rows {
		b.Conns = append(b.Conns, l.conn(&c.rows[i]))
	}
	c.rows = c.rows[:0]
	if cap(c.rows) > maxIdleRows {
		c.rows = nil
	}
	if c.omitted > 0 {
		b.Lost = append(b.Lost, record.Lost{
			Time: b.End, Place: "connections", Reason: "more in one interval than are kept", Count: c.omitted,
			Effect: "these changes of connections, or open ones, are not told",
		})
		c.omitted = 0
	}
}

// conn makes the record of a connection or a listener.
func (l *live) conn(e *decode.ConnEvent) record.Conn {
	o := l.connOwner(&e.Conn)
	t := e.Sides()
	var r record.Conn
	l.names.endpoints(&r.Endpoints, l.clock.Wall(e.Time), &t, e.Conn.NetNS, 0)
	r.Owner = l.names.owner(o)
	r.State = decode.SocketState(e.State)
	r.Event = connEvent(e)
	if r.Event == record.ConnListens {
		r.SrcAddr, r.SrcPort = netip.Addr{}, 0
		r.DstAddr = netip.AddrFrom16(t.Dst).Unmap()
		if t.EthProto == etherIPv4 && r.DstAddr.IsUnspecified() {
			r.DstAddr = netip.IPv4Unspecified()
		}
		r.Backlog, r.BacklogMax = uint64(e.Backlog), uint64(e.BacklogMax)
		r.SynQueue, r.Overflows = uint64(e.Window), uint64(e.Overflows)
		r.CookieTime = l.cookieTime(e)
		r.Side = record.Server
		r.Start = l.clock.Wall(e.Conn.Start)
		r.Older = e.Conn.Flags&decode.ConnOlder != 0
		return r
	}
	switch e.Conn.Role {
	case decode.ConnClient:
		r.Side = record.Client
	case decode.ConnServer:
		r.Side = record.Server
	}
	r.Older = e.Conn.Flags&decode.ConnOlder != 0
	if e.Conn.Start != 0 {
		r.Start = l.clock.Wall(e.Conn.Start)
		r.DurationMicros = (e.Time - e.Conn.Start) / 1000
	}
	switch {
	case e.Conn.Role != decode.ConnClient || r.Older:
	case e.Conn.Established != 0:
		r.ConnectMicros = uint32((e.Conn.Established - e.Conn.Start) / 1000)
	case r.Event == record.ConnFailed:
		r.ConnectMicros = uint32((e.Time - e.Conn.Start) / 1000)
	}
	r.RTTMicros, r.RTTMinMicros, r.RTTVarMicros = e.RTT()
	r.BytesIn, r.BytesOut = e.PayloadIn(), e.PayloadOut()
	r.SegmentsIn, r.SegmentsOut = uint64(e.SegsIn), uint64(e.SegsOut)
	r.Retransmits, r.OutOfOrder = uint64(e.Retrans), uint64(e.OutOfOrder)
	r.RwndMicros = uint64(e.RwndLimited) * l.tick / 1000
	r.ZeroWindow = r.Event == record.ConnOpen && e.State == tcpEstablished && e.Window == 0
	r.ClosedBy, r.Error = e.ClosedBy(), e.Error()
	r.Name = l.connPeer(e, o, &r)
	return r
}

// cookieTime is when a listener last sent SYN cookies, zero if it never did. The
// kernel's note of that goes round after 2^32 jiffies: what seems to be in the
// future was long ago.
func (l *live) cookieTime(e *decode.ConnEvent) time.Time {
	if e.RwndLimited == 0 || e.RwndLimited > 1<<31 {
		return time.Time{}
	}
	return l.clock.Wall(e.Time - uint64(e.RwndLimited)*l.tick)
}

const (
	tcpEstablished = 1
	etherIPv4      = 0x0800
	etherIPv6      = 0x86dd
)

func connEvent(e *decode.ConnEvent) record.ConnEvent {
	switch {
	case e.Conn.Role == decode.ConnListener:
		return record.ConnListens
	case e.What == decode.ConnOpened:
		return record.ConnOpened
	case e.What == decode.ConnFailed:
		return record.ConnFailed
	case e.What == decode.ConnClosed:
		return record.ConnClosed
	}
	return record.ConnOpen
}
