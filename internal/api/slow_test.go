package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netfate/netfate/internal/history"
)

// pipes is a listener in memory, whose time is that of synctest.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7323} }

// dial is a client's end. Nothing is buffered: what one side does not read, the other one
// waits for.
func (p *pipes) dial() net.Conn {
	theirs, ours := net.Pipe()
	p.conns <- ours
	return theirs
}

// inMemory serves on pipes, and has do be a client of them; time goes on when everybody waits.
func inMemory(t *testing.T, change func(*Config), do func(t *testing.T, s *Server, p *pipes)) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newServer(t, change), newPipes()
		s.listens = []listener{s.bounded(p, byLoopback)}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if err := s.Serve(ctx); err != nil {
				t.Error(err)
			}
		})
		do(t, s, p)
		cancel()
		all.Wait()
	})
}

// trickle writes one byte a second until that is refused, and returns how long it took.
func trickle(c net.Conn, text string) time.Duration {
	begin := time.Now()
	for _, b := range []byte(text) {
		if _, err := c.Write([]byte{b}); err != nil {
			break
		}
		time.Sleep(time.Second)
	}
	return time.Since(begin)
}

// answers asks whether the server is well.
func answers(t *testing.T, p *pipes) {
	t.Helper()
	c := p.dial()
	defer c.Close()
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Errorf("ask: %v", err)
		return
	}
	if r, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("got %v, %v; want an answer", r, err)
	}
}

// TestSlowloris has many clients say a request so slowly that it never ends. Each is
// cut off, and others are answered meanwhile and afterwards.
func TestSlowloris(t *testing.T) {
	head := "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X-A: b\r\n", 100)
	body := "POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
	for name, c := range map[string]struct {
		at   string // said at once
		rest string
		want time.Duration
	}{
		"head":           {"", head, headTime},
		"rest of a head": {head[:len(head)-500], strings.Repeat("X-A: b\r\n", 100), headTime},
		"nothing":        {"", "", headTime},
		"body":           {body, strings.Repeat(" ", 1000), bodyTime},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, nil, func(t *testing.T, _ *Server, p *pipes) {
				var all sync.WaitGroup
				for range 100 {
					conn := p.dial()
					all.Go(func() {
						defer conn.Close()
						if _, err := io.WriteString(conn, c.at); err != nil {
							t.Errorf("got %v, want the first words to be taken", err)
							return
						}
						begin := time.Now()
						all.Go(func() {
							// What it says, if it says anything; a client need not read.
							_, _ = io.Copy(io.Discard, conn)
							if took := time.Since(begin); took > c.want+time.Second {
								t.Errorf("cut off after %v, want %v", took, c.want)
							}
						})
						if took := trickle(conn, c.rest); took > c.want+time.Second {
							t.Errorf("read for %v, want %v", took, c.want)
						}
					})
				}
				synctest.Wait()
				answers(t, p)
				all.Wait()
				answers(t, p)
			})
		})
	}
}

// TestTimeouts holds how long a connection lasts whose client is silent, or reads nothing.
func TestTimeouts(t *testing.T) {
	ask := func(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n" }
	until := func(t *testing.T, what string, begin time.Time, want time.Duration) {
		if took := time.Since(begin); took < want-time.Second || took > want+time.Second {
			t.Errorf("%s: over after %v, want %v", what, took, want)
		}
	}
	inMemory(t, nil, func(t *testing.T, _ *Server, p *pipes) {
		c := p.dial()
		defer c.Close()
		if _, err := io.WriteString(c, ask("/healthz")); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("got %v, want an end", err)
		}
		until(t, "idle", begin, idleTime)
	})
	inMemory(t, nil, func(t *testing.T, s *Server, p *pipes) {
		c := p.dial()
		defer c.Close()
		if _, err := io.WriteString(c, ask("/api/v1/schema")); err != nil {
			t.Fatal(err)
		}
		begin, most := time.Now(), s.live.Load().api.QuestionTime+bodyTime
		time.Sleep(most + time.Second)
		if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v, want an end", err)
		}
		until(t, "an answer that nobody reads", begin, most)
	})
	inMemory(t, nil, func(t *testing.T, s *Server, p *pipes) {
		c := p.dial()
		defer c.Close()
		if _, err := io.WriteString(c, ask("/api/v1/events")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := s.events.count(); n != 1 {
			t.Errorf("%d clients follow, want one", n)
		}
		time.Sleep(writeTime + time.Second)
		synctest.Wait()
		if n := s.events.count(); n != 0 {
			t.Errorf("after %v %d clients follow that read nothing", writeTime, n)
		}
		if list := s.lost.list(); len(list) != 1 || list[0].Place != "api_events" || list[0].Count != 1 {
			t.Errorf("got %v, want one client counted that did not keep up", list)
		}
	})
}

// hung is a store that answers nothing in time.
type hung struct{ history.Store }

// Rows implements history.Store.
func (hung) Rows(ctx context.Context, _ history.Question) (history.Table, error) {
	<-ctx.Done()
	return history.Table{}, ctx.Err()
}

// TestQuestionsEnd asks a store that hangs, more often than questions are worked on.
func TestQuestionsEnd(t *testing.T) {
	inMemory(t, func(c *Config) { c.Store = hung{c.Store} }, func(t *testing.T, s *Server, p *pipes) {
		var all sync.WaitGroup
		begin := time.Now()
		for range 3 * cap(s.working) {
			c := p.dial()
			all.Go(func() {
				defer c.Close()
				if _, err := io.WriteString(c, "GET /api/v1/rows/flows HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
					t.Errorf("ask: %v", err)
					return
				}
				r, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil || r.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("got %v, %v; want 503", r, err)
				}
			})
		}
		all.Wait()
		if took := time.Since(begin); took != s.live.Load().api.QuestionTime {
			t.Errorf("all are answered after %v, want %v", took, s.live.Load().api.QuestionTime)
		}
		answers(t, p)
	})
}

// TestConnections opens more connections than a listener has, and closes them.
func TestConnections(t *testing.T) {
	inMemory(t, func(c *Config) { c.API.Clients = 1 }, func(t *testing.T, s *Server, p *pipes) {
		const more = 5
		var open []net.Conn
		for range maxConns + 1 + more {
			c := p.dial()
			open = append(open, c)
			go func() { _, _ = io.Copy(io.Discard, c) }() // what it is told when it is cut off
		}
		synctest.Wait()
		for i, c := range open {
			_, err := io.WriteString(c, "GET")
			if taken := err == nil; taken != (i < maxConns+1) {
				t.Errorf("connection %d: got %v", i, err)
			}
		}
		if list := s.lost.list(); len(list) != 1 || list[0].Reason != "connections over the limit" || list[0].Count != more {
			t.Errorf("got %v, want %d counted", list, more)
		}
		// Who says nothing more goes by itself.
		time.Sleep(headTime + time.Second)
		answers(t, p)
		for _, c := range open {
			_ = c.Close()
		}
	})
}

// TestShare holds that no client of the network has all connections.
func TestShare(t *testing.T) {
	b := newBounded(nil, byNetwork, 0, newLosses())
	for _, who := range []string{"a", "b"} {
		n := 0
		for b.enter(who) {
			n++
		}
		if n != maxConns/clientShare {
			t.Errorf("%s has %d connections, want %d", who, n, maxConns/clientShare)
		}
	}
	b.leave("a")
	if !b.enter("a") || b.enter("a") {
		t.Error("one that went makes no room for one")
	}
	for range maxConns / clientShare {
		b.leave("b")
	}
	if len(b.by) != 1 || b.open != maxConns/clientShare {
		t.Errorf("got %v, %d open; want those of a alone", b.by, b.open)
	}
}
