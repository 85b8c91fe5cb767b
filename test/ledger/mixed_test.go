package ledger

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

var mixed = flag.Duration("mixed", 10*time.Second, "how long TestMixed sends")

// unexplained is the most of all packets that may be left over.
const unexplained = 0.001

// TestMixed: on the host as it is, with TCP, UDP, HTTP, DNS, forwarding, NAT, a link
// that loses, rules, closed ports and full sockets at once, less than a thousandth
// of what came to any layer is unexplained in the end.
func TestMixed(t *testing.T) {
	need.Time(t)
	c := open(t, true)
	lab := netlab.New(t)
	m := newMixture(lab)
	c.pass(t, 4)
	c.mu.Lock()
	from, lost := len(c.lines), len(c.lost)
	c.mu.Unlock()
	m.run(t, *mixed)
	c.pass(t, 4)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lost[lost:] {
		t.Logf("netfate lost %d at %s: %s", l.Count, l.Place, l.Reason)
	}
	came, off := rests(c.lines[from:])
	var rest int64
	for _, s := range off {
		t.Logf("%8d of %s", s.rest, s.name)
		rest += max(s.rest, -s.rest)
	}
	share := float64(rest) / float64(came)
	t.Logf("%d of %d buffers that came to all stations are unexplained: %.4f %%", rest, came, 100*share)
	if came < 10_000 || math.IsNaN(share) || share >= unexplained {
		t.Errorf("got %.4f %% of %d unexplained, want less than %.2f %% of at least 10000", 100*share, came, 100*unexplained)
	}
}

// station is what of one is unexplained.
type station struct {
	name string
	rest int64
}

// rests adds up what came to all stations of all namespaces, and returns those of
// which something is unexplained over the whole time.
func rests(lines []record.Entry) (came int64, off []station) {
	sums := map[string]int64{}
	for i := range lines {
		e := &lines[i]
		switch {
		case e.Scope == record.HostScope || e.Station == "total":
		case e.Line == record.Came:
			came += e.Packets
		case e.Line == record.Remainder:
			sums[fmt.Sprintf("%s %s, %s of %s %s", e.NetNSName, e.IfName, e.Direction, e.Station, e.Unit)] += e.Packets
		}
	}
	for name, n := range sums {
		if n != 0 {
			off = append(off, station{name, n})
		}
	}
	slices.SortFunc(off, func(x, y station) int { return strings.Compare(x.name, y.name) })
	return came, off
}

// mixture is a client, a router, a server, and behind a narrow link another one.
type mixture struct {
	client, router, server, far *netlab.NetNS
	web                         http.Server
	names, slow, small          *net.UDPConn
}

func newMixture(l *netlab.Lab) *mixture {
	m := &mixture{}
	m.client, m.router, m.server = middle(l)
	m.far = l.NetNS("far")
	l.Veth(m.far, "v", m.router, "narrow")
	m.far.Addr("v", "10.3.0.2/24")
	m.router.Addr("narrow", "10.3.0.1/24")
	m.far.Route("default", "10.3.0.1")
	m.router.Exec("tc", "qdisc", "add", "dev", "narrow", "root", "tbf", "rate", "2mbit", "burst", "3000", "limit", "20000")
	m.router.NFT(`table ip m {
		chain post { type nat hook postrouting priority 100; oifname "right" masquerade; };
		chain on { type filter hook forward priority 0; udp dport 9 counter drop; };
	}`)
	m.names = m.server.ListenUDP("10.2.0.2:53")
	m.slow = m.far.ListenUDP("10.3.0.2:7")
	m.small = m.server.ListenUDP("10.2.0.2:11")
	m.server.Must("shrink a buffer", m.small.SetReadBuffer(2048))
	return m
}

// run sends for so long, and ends when all has come.
func (m *mixture) run(t *testing.T, d time.Duration) {
	ctx, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	var all sync.WaitGroup
	go m.answer()
	go func() { _, _ = io.Copy(io.Discard, m.slow) }()
	listener := m.server.ListenTCP("10.2.0.2:80")
	m.web.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte("x"), 1+len(r.URL.Path)*500))
	})
	go func() { _ = m.web.Serve(listener) }()
	seconds := fmt.Sprint(max(int(d.Seconds()), 1))
	for i, args := range [][]string{{"-P", "2", "-b", "100M"}, {"-u", "-b", "30M", "-l", "1200"}} {
		port := fmt.Sprint(5201 + i)
		server := exec.Command("iperf3", "-s", "-p", port)
		m.server.Start(server)
		all.Go(func() {
			var text string
			err := fmt.Errorf("not tried")
			for err != nil && ctx.Err() == nil { // until the server listens
				text, err = m.client.TryExec(append([]string{"iperf3", "-c", "10.2.0.2", "-p", port, "-t", seconds}, args...)...)
			}
			if err != nil {
				t.Errorf("iperf3: %v\n%s", err, text)
			}
		})
	}
	for _, f := range []func(context.Context) error{m.browse, m.browse, m.ask, m.flood} {
		all.Go(func() {
			err := f(ctx)
			// A dial ends by the deadline itself, which may be before the context is told.
			if end, _ := ctx.Deadline(); err != nil && time.Now().Before(end) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	_ = m.web.Close()
	drain(m.small)
	time.Sleep(time.Second) // 20,000 bytes at 250,000 a second, and connections close
}

// answer is a name server that repeats each question.
func (m *mixture) answer() {
	b := make([]byte, 512)
	for {
		n, addr, err := m.names.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		_, _ = m.names.WriteToUDPAddrPort(b[:n], addr)
	}
}

func (m *mixture) dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = m.client.Try(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// browse asks for pages, each tenth over a new connection.
func (m *mixture) browse(ctx context.Context) error {
	transport := &http.Transport{DialContext: m.dial}
	client := http.Client{Transport: transport}
	defer transport.CloseIdleConnections()
	for i := 0; ctx.Err() == nil; i++ {
		if i%10 == 0 {
			transport.CloseIdleConnections()
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://10.2.0.2/"+strings.Repeat("y", i%40), http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// ask asks the name server, from a socket of its own for each question.
func (m *mixture) ask(ctx context.Context) error {
	for ctx.Err() == nil {
		conn, err := m.dial(ctx, "udp", "10.2.0.2:53")
		if err != nil {
			return err
		}
		_, err = conn.Write(make([]byte, 60))
		if err == nil {
			_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
			_, err = conn.Read(make([]byte, 512))
		}
		conn.Close()
		if err != nil {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// flood sends more than the narrow link takes, what a rule drops, what nobody wants,
// and what a small buffer has no room for.
func (m *mixture) flood(ctx context.Context) error {
	conn := m.client.ListenUDP("0.0.0.0:0")
	defer conn.Close()
	for ctx.Err() == nil {
		for to, n := range map[string]int{"10.3.0.2:7": 20, "10.2.0.2:9": 2, "10.2.0.2:10": 1, "10.2.0.2:11": 3} {
			addr := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))
			for range n {
				_, _ = conn.WriteTo(make([]byte, 500), addr)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}
