package api

import (
	"net"
	"sync"
)

const (
	// maxConns is how many connections a listener has at once, beside those of clients
	// that follow events: each takes a file and some 20 kB before anything is asked.
	maxConns = 1024
	// clientShare is which part of them clients of the network have at most, each.
	clientShare = 4
)

// bounded is a listener that has a bounded number of connections; what is beyond it
// closes at once.
type bounded struct {
	net.Listener
	trust trust
	most  int // connections at once
	lost  *losses

	mu   sync.Mutex
	open int
	by   map[string]int // connections of each client
}

func newBounded(l net.Listener, t trust, followers int, lost *losses) *bounded {
	return &bounded{Listener: l, trust: t, most: maxConns + followers, lost: lost, by: map[string]int{}}
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		who := client(b.trust, c.RemoteAddr().String())
		if b.enter(who) {
			return &boundedConn{Conn: c, leave: sync.OnceFunc(func() { b.leave(who) })}, nil
		}
		b.lost.add("api", "connections over the limit", 1, "these clients were sent away")
		_ = c.Close() // nothing was said
	}
}

// enter reports whether a client may have one more.
func (b *bounded) enter(who string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	each := b.most
	if b.trust == byNetwork {
		each /= clientShare // of this host all are one client
	}
	if b.open >= b.most || b.by[who] >= each {
		return false
	}
	b.open++
	b.by[who]++
	return true
}

func (b *bounded) leave(who string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open--
	if b.by[who]--; b.by[who] == 0 {
		delete(b.by, who)
	}
}

// boundedConn is a connection that counts.
type boundedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// CloseWrite is what net/http says no more by, so that a client reads why.
func (c *boundedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
