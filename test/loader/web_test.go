package loader

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/test/netlab"
)

// patience is how long anything may take.
const patience = 20 * time.Second

// request is a key of url_map.
type request struct{ Method, Host, Path string }

// counts are requests and how often each was made.
type counts map[request]uint64

// entry is a row of `netfate map dump url_map -o json`.
type entry struct {
	Key   request
	Value struct{ XDP, TC uint64 }
}

// statistics is the row of url_stats.
type statistics struct {
	Value struct {
		Requests uint64 `json:"requests"`
		PathCut  uint64 `json:"path_cut"`
		HostCut  uint64 `json:"host_cut"`
		NoHost   uint64 `json:"no_host"`
		MapFull  uint64 `json:"map_full"`
		Unread   uint64 `json:"unread"`
	} `json:"value"`
}

// The lengths of url_map.h, less the NUL.
const (
	maxHost = 63
	maxPath = 127
)

// site is a web server that counts what it is asked for: the log that url_map is
// compared with.
type site struct {
	world *world
	mu    sync.Mutex
	log   counts
}

func newSite(w *world, addresses ...string) *site {
	w.t.Helper()
	s := &site{world: w, log: counts{}}
	for _, address := range addresses {
		listener := w.server.ListenTCP(address)
		server := &http.Server{Handler: s, ReadHeaderTimeout: patience}
		var wait sync.WaitGroup
		wait.Go(func() { _ = server.Serve(listener) }) // its error says that it was closed
		w.t.Cleanup(func() {
			if err := server.Close(); err != nil {
				w.t.Error(err)
			}
			wait.Wait()
		})
	}
	return s
}

// ServeHTTP answers everything alike.
func (s *site) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	path, _, _ := strings.Cut(in.RequestURI, "?")
	s.count(request{in.Method, in.Host, path})
	if _, err := io.Copy(io.Discard, in.Body); err != nil {
		http.Error(out, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintln(out, "hello") // an error is the client's to see
}

func (s *site) count(r request) {
	r.Host, r.Path = r.Host[:min(len(r.Host), maxHost)], r.Path[:min(len(r.Path), maxPath)]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log[r]++
}

// visit makes one request, over a connection of its own or one that is kept.
func (s *site) visit(client *http.Client, method, address, host, target string) {
	s.world.t.Helper()
	var body io.Reader
	if method == http.MethodPost || method == http.MethodPut {
		body = strings.NewReader("GET / HTTP/1.1\r\nHost: body.example\r\n\r\n")
	}
	r, err := http.NewRequestWithContext(s.world.t.Context(), method, "http://"+address+target, body)
	s.world.check(err)
	r.Host = host
	response, err := client.Do(r)
	s.world.check(err)
	_, err = io.Copy(io.Discard, response.Body)
	s.world.check(err)
	s.world.check(response.Body.Close())
	if response.StatusCode != http.StatusOK {
		s.world.t.Fatalf("%s %s: got status %s", method, target, response.Status)
	}
}

func (w *world) webClient(keep bool) *http.Client {
	transport := &http.Transport{
		DisableKeepAlives: !keep,
		DialContext:       func(_ context.Context, _, address string) (net.Conn, error) { return w.dial(address) },
	}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// crowd makes requests of all kinds to each address.
func (s *site) crowd(addresses ...string) {
	s.world.t.Helper()
	long := strings.Repeat("/0123456789abcde", 20)
	for _, address := range addresses {
		for _, keep := range []bool{false, true} {
			client := s.world.webClient(keep)
			for i := range 5 {
				s.visit(client, http.MethodGet, address, "a.example", fmt.Sprintf("/?n=%d", i))
				s.visit(client, http.MethodGet, address, "A.example:8080", "/index.html")
			}
			for _, method := range []string{"HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"} {
				s.visit(client, method, address, "b.example", "/form?"+long)
			}
			s.visit(client, http.MethodGet, address, "b.example", long)                                   // cut
			s.visit(client, http.MethodGet, address, "b.example", "/"+strings.Repeat("x", maxPath-1))     // fits
			s.visit(client, http.MethodGet, address, strings.Repeat("label.", 15)+"example", "/")         // cut
			s.visit(client, http.MethodGet, address, strings.Repeat("h", maxHost), "/%7Euser/../a%20b//") // fits
		}
	}
}

// frames sends segments that no socket would, and notes those that are to be
// counted.
func (s *site) frames() {
	w := s.world
	wire := w.client.Packets("eth0", 0)
	base := netlab.Frame{
		SrcMAC: w.client.MAC("eth0"), DstMAC: w.server.MAC("eth0"), Proto: netlab.ProtoTCP, Flags: netlab.PSH | netlab.ACK,
		Src: netip.MustParseAddrPort("10.0.0.1:1000"), Dst: netip.MustParseAddrPort("10.0.0.2:9"),
		Payload: []byte("GET /raw HTTP/1.1\r\nhOST:\t raw.example \r\n\r\n"),
	}
	raw := request{"GET", "raw.example", "/raw"}
	send := func(counted bool, change func(f *netlab.Frame)) {
		f := base
		change(&f)
		wire.Send(f.Bytes())
		if counted {
			s.count(raw)
		}
	}
	v6 := func(f *netlab.Frame) {
		f.Src, f.Dst = netip.MustParseAddrPort("[fd00::1]:1000"), netip.MustParseAddrPort("[fd00::2]:9")
	}
	send(true, func(*netlab.Frame) {})
	send(true, v6)
	send(true, func(f *netlab.Frame) { f.Options = make([]byte, 40) })
	send(true, func(f *netlab.Frame) { f.TCPOptions = make([]byte, 40) })
	send(true, func(f *netlab.Frame) { f.VLAN = 5; f.Options = make([]byte, 4); f.TCPOptions = make([]byte, 12) })
	six := base
	v6(&six)
	for _, f := range []netlab.Frame{base, six} {
		wire.Send(twiceTagged(f))
		s.count(raw)
	}
	wire.Send(extended(base, v6, 0, 60, 43)) // hop-by-hop, destination, routing
	s.count(raw)
	wire.Send(extended(base, v6, 51)) // authentication
	s.count(raw)

	// What begins within a segment, is no HTTP, or no whole segment.
	send(false, func(f *netlab.Frame) { f.Payload = append([]byte("\r\n"), f.Payload...) })
	send(false, func(f *netlab.Frame) { f.Payload = []byte("HTTP/1.1 200 OK\r\nHost: x\r\n\r\n") })
	send(false, func(f *netlab.Frame) { f.Payload = []byte("GET a-key-of-a-cache\r\n") })
	send(false, func(f *netlab.Frame) { f.Payload = []byte("GETTING /raw HTTP/1.1\r\n\r\n") })
	send(false, func(f *netlab.Frame) { f.Payload = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") })
	send(false, func(f *netlab.Frame) { f.Payload = []byte("GET ") })
	send(false, func(f *netlab.Frame) { f.Payload = nil })
	send(false, func(f *netlab.Frame) { f.Proto = netlab.ProtoUDP })
	send(false, func(f *netlab.Frame) { f.Offset = 8 })
	// The header is behind the window, or there is none.
	for _, filler := range []string{"X: " + strings.Repeat("x", 600) + "\r\nHost: far.example\r\n\r\n", "\r\nHost: body.example\r\n\r\n"} {
		send(false, func(f *netlab.Frame) { f.Payload = []byte("GET /far HTTP/1.0\r\n" + filler) })
		s.count(request{"GET", "", "/far"})
	}
}

// twiceTagged returns the frame with 802.1Q within 802.1ad.
func twiceTagged(f netlab.Frame) []byte {
	f.VLAN = 7
	frame := f.Bytes()
	outer := []byte{0x88, 0xa8, 0, 6}
	return append(append(append([]byte(nil), frame[:12]...), outer...), frame[12:]...)
}

// extended returns an IPv6 frame with extension headers of the kinds given.
func extended(f netlab.Frame, v6 func(*netlab.Frame), kinds ...byte) []byte {
	v6(&f)
	plain := f.Bytes()
	at := netlab.TransportAt(plain)
	var headers []byte
	for i, kind := range kinds {
		next := byte(netlab.ProtoTCP)
		if i+1 < len(kinds) {
			next = kinds[i+1]
		}
		header := make([]byte, 16)
		header[0], header[1] = next, 1 // in units of 8 bytes, the first not counted
		if kind == 51 {
			header[1] = 2 // of 4 bytes, the first two not counted
		}
		headers = append(headers, header...)
	}
	frame := append(append(append([]byte(nil), plain[:at]...), headers...), plain[at:]...)
	frame[netlab.NetworkAt(frame)+6] = kinds[0]
	length := len(frame) - at
	frame[netlab.NetworkAt(frame)+4], frame[netlab.NetworkAt(frame)+5] = byte(length>>8), byte(length)
	return frame
}

// dump reads url_map at its pin.
func (w *world) dump(path string) (xdp, tc counts) {
	w.t.Helper()
	xdp, tc = counts{}, counts{}
	for _, e := range rows[entry](w.t, w.netfate("map", "dump", path, "-o", "json")) {
		if e.Value.XDP > 0 {
			xdp[e.Key] = e.Value.XDP
		}
		if e.Value.TC > 0 {
			tc[e.Key] = e.Value.TC
		}
	}
	return xdp, tc
}

// wantLogged compares a program's counts with what the server has logged.
func (s *site) wantLogged(who string, got counts) {
	s.world.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff(s.log, got); diff != "" {
		s.world.t.Errorf("%s: requests (-server's log +url_map):\n%s", who, diff)
	}
}
