package sensor

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/sensor/tls"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// TestTLSPeers has real clients ask real servers. What one end sends is what the
// other receives, byte for byte, and both ends are told with their addresses and
// processes.
func TestTLSPeers(t *testing.T) {
	need.Root(t)
	s := start(t, tls.Config{})
	for _, p := range pairs(t) {
		t.Run(p.name, func(t *testing.T) {
			lab, a, b := cable(t)
			server := p.server(t, b, newTLSFiles(t))
			awaitPort(t, b, p.port)
			s.Look(server.pid())
			l := &listener{t: t, s: s, in: lab.Inodes(), talks: map[uint64]*talk{}}
			client := p.client(t, a, p.port)
			pid := client.pid()
			client.wait(t)
			l.until("both ends", func() bool { return l.overs(pid) == 1 && l.overs(server.pid()) == 1 })
			l.wantAgreement(l.of(pid)[0], l.of(server.pid())[0], p)
			l.wantNoLosses()
		})
	}
}

// wantAgreement compares the two ends of a connection.
func (l *listener) wantAgreement(client, server *talk, p pair) {
	l.t.Helper()
	for _, d := range []int{0, 1} {
		from, to := client, server
		if d == 0 {
			from, to = server, client
		}
		sent := string(from.said[1])
		if strings.HasSuffix(p.name, "HTTP2") { // an end may leave before it has read the other's farewell
			sent = sent[:min(len(sent), len(to.said[0]))]
		}
		if diff := cmp.Diff(sent, string(to.said[0])); diff != "" {
			l.t.Errorf("direction %d (-sent +received):\n%s", d, diff)
		}
		if !client.begun[d] || !server.begun[d] || client.missing[d]+server.missing[d] > 0 {
			l.t.Errorf("direction %d: got %+v and %+v, want both seen from their beginning, with nothing missing", d, client.begun, server.begun)
		}
	}
	if !strings.Contains(string(client.said[1]), p.asks) || !strings.Contains(string(client.said[0]), p.gets) {
		l.t.Errorf("got %s\nwant %q asked and %q answered", l, p.asks, p.gets)
	}
	if client.local != server.remote || client.remote != server.local || server.local != netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), uint16(p.port)) {
		l.t.Errorf("got %v → %v at the client, %v → %v at the server", client.local, client.remote, server.local, server.remote)
	}
	known := !strings.HasPrefix(p.name, "gnutls") // which has one function for both sides
	if client.client != known || client.server || server.server != known || server.client {
		l.t.Errorf("roles: got %v, %v of the client and %v, %v of the server", client.client, client.server, server.client, server.server)
	}
}

// TestTLSEachWay plays the same on each way that this kernel allows.
func TestTLSEachWay(t *testing.T) {
	need.Root(t)
	for _, w := range []struct {
		name    string
		without []string
		needs   string
		lacks   bool
	}{
		{"tracepoints", []string{"fentry"}, "sock_length", false},
		{"functions", []string{"sock_length"}, "fentry", false},
		{"one link a place", []string{"uprobe_multi"}, "uprobe_multi", false},
		{"no sockets", []string{"sock_length", "fentry"}, "uprobe", true},
	} {
		t.Run(w.name, func(t *testing.T) {
			if !capabilities()[w.needs] {
				need.Capability(t, w.needs)
			}
			lab, a, b := cable(t)
			server := startNginx(t, b, newTLSFiles(t))
			l := listen(t, tls.Config{Without: w.without, MaxFiles: openSSL}, lab)
			if got := l.s.Lacks(); (len(got) > 0) != w.lacks {
				t.Errorf("got lacks %q, want some: %v", got, w.lacks)
			}
			client := startPeer(t, a, "", nil, "curl", "--noproxy", "*", "-sk", "https://10.0.0.2/asked")
			pid := client.pid()
			client.wait(t)
			l.until("both ends", func() bool { return l.overs(pid) == 1 && l.overs(server.pid()) == 1 })
			if k := l.of(pid)[0]; (k.remote.Port() == 443) == w.lacks || (l.of(server.pid())[0].local.Port() == 443) == w.lacks {
				t.Errorf("got %s\nwant addresses: %v", l, !w.lacks)
			}
			l.wantNoLosses()
		})
	}
}

// TestTLSLook finds a program that was started later when it is told to look.
func TestTLSLook(t *testing.T) {
	need.Root(t)
	need.Time(t)
	lab, a, b := cable(t)
	l := listen(t, tls.Config{}, lab)
	f := newTLSFiles(t)
	server := goPeer(t, b, ownProgram(t, true), "serve", "10.0.0.2:4433", f.cert, f.key)
	awaitPort(t, b, 4433)
	self, err := os.Executable()
	check(t, err)
	ask := func() {
		client := goPeer(t, a, self, "get", "https://10.0.0.2:4433", "1")
		pid := client.pid()
		client.wait(t)
		l.until("the client", func() bool { return l.overs(pid) == 1 })
	}
	l.s.Look(uint32(os.Getpid())) // its clients are this program
	ask()
	if got := l.of(server.pid()); len(got) > 0 {
		t.Errorf("before it was looked at: got %s", l)
	}
	before := len(files(t))
	for range 100 {
		l.s.Look(server.pid())
	}
	if got := len(files(t)) - before; got < 1 || got > 60 {
		t.Errorf("looked 100 times: got %d more open files, want those of one program", got)
	}
	ask()
	l.until("the server", func() bool { return l.overs(server.pid()) == 1 })
	if got := string(l.of(server.pid())[0].said[0]); !strings.HasPrefix(got, "GET /0 HTTP/1.1\r\n") {
		t.Errorf("got %q", got)
	}
	l.s.Look(1 << 30) // nobody
	l.wantNoLosses()
	sleeper := startPeer(t, a, "", nil, "sleep", "100")
	l.s.Look(sleeper.pid())
	if unread := l.s.Unread(); len(unread) != 1 || !strings.Contains(unread[0], "/sleep: ") {
		t.Errorf("got unread %q, want sleep, which has no TLS", unread)
	}
}

// TestTLSDiscover finds what was started later before it says anything: a program
// by itself, and a library that a program loads after it was looked at.
func TestTLSDiscover(t *testing.T) {
	need.Root(t)
	need.Time(t)
	lab, a, b := cable(t)
	l := listen(t, tls.Config{}, lab)
	f := newTLSFiles(t)
	server := goPeer(t, b, ownProgram(t, true), "serve", "10.0.0.2:4433", f.cert, f.key)
	awaitPort(t, b, 4433)
	for range 10 { // of all that is new on this host
		check(t, l.s.Discover())
	}
	self, err := os.Executable()
	check(t, err)
	goPeer(t, a, self, "get", "https://10.0.0.2:4433", "1").wait(t)
	l.until("the server", func() bool { return l.overs(server.pid()) == 1 })
	if got := l.of(server.pid())[0]; !got.begun[0] || !got.begun[1] || !strings.HasPrefix(string(got.said[0]), "GET /0 HTTP/1.1\r\n") {
		t.Errorf("got %s, want it read from its beginning", l)
	}
	library := ownLibrary(t)
	loader := startPeer(t, a, "", nil, "/usr/bin/python3", "-c", fmt.Sprintf(`
import ctypes, os, time
while not os.path.exists(%[1]q): time.sleep(0.01)
ctypes.CDLL(%[2]q)
open(%[1]q, "w").write("loaded")
time.sleep(100)
`, library+".now", library))
	for range 10 {
		check(t, l.s.Discover())
	}
	before := len(files(t))
	check(t, os.WriteFile(library+".now", nil, 0o600))
	netlab.WaitFor(t, "the library to be loaded", func() bool {
		said, err := os.ReadFile(library + ".now")
		return err == nil && string(said) == "loaded"
	})
	netlab.WaitFor(t, fmt.Sprintf("the library of process %d to be watched", loader.pid()), func() bool {
		check(t, l.s.Discover())
		return len(files(t)) > before
	})
	l.wantNoLosses()
}

// TestTLSContainers has a program in two containers that share its layer, where
// it is one file by two names, on two devices: it is watched once.
func TestTLSContainers(t *testing.T) {
	need.Root(t)
	need.Time(t)
	lab, a, b := cable(t)
	program, empty := ownProgram(t, false), t.TempDir()
	var inside [2]string
	for i := range inside {
		dir := t.TempDir()
		check(t, unix.Mount("overlay", dir, "overlay", 0, fmt.Sprintf("lowerdir=%s:%s", filepath.Dir(program), empty)))
		t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
		inside[i] = filepath.Join(dir, filepath.Base(program))
	}
	l := listen(t, tls.Config{}, lab)
	f := newTLSFiles(t)
	server := goPeer(t, a, inside[0], "serve", "10.0.0.1:4433", f.cert, f.key)
	other := goPeer(t, b, inside[1], "serve", "10.0.0.2:4433", f.cert, f.key)
	awaitPort(t, a, 4433)
	awaitPort(t, b, 4433)
	l.s.Look(server.pid())
	before := len(files(t))
	l.s.Look(other.pid())
	if got := len(files(t)); got != before {
		t.Errorf("the same file in another container: got %d more open files, want none", got-before)
	}
	for _, address := range []string{"10.0.0.1", "10.0.0.2"} {
		goPeer(t, a, inside[1], "get", "https://"+address+":4433", "1").wait(t)
	}
	l.until("both servers", func() bool { return l.overs(server.pid()) == 1 && l.overs(other.pid()) == 1 })
	l.wantNoLosses()
}

// TestTLSTooManyFiles says how many programs it has no room for.
func TestTLSTooManyFiles(t *testing.T) {
	need.Root(t)
	need.Time(t)
	lab, a, b := cable(t)
	startNginx(t, b, newTLSFiles(t))
	l := listen(t, tls.Config{MaxFiles: openSSL}, lab)
	server := goPeer(t, a, ownProgram(t, false), "serve", "10.0.0.1:4433", "", "")
	l.s.Look(server.pid())
	l.s.Look(server.pid())
	losses, err := l.s.Losses()
	check(t, err)
	if len(losses) != 1 || losses[0].Count < 1 || losses[0].Reason != "too many files" {
		t.Errorf("got losses %+v, want one of files", losses)
	}
	if losses, err := l.s.Losses(); err != nil || len(losses) > 0 {
		t.Errorf("the second time: got losses %+v, error %v", losses, err)
	}
}

// TestTLSReuse makes connections one after the other, whose objects come to lie
// where the last ones were: each is another.
func TestTLSReuse(t *testing.T) {
	need.Root(t)
	need.Time(t)
	const count = 20
	lab, a, b := cable(t)
	server := startNginx(t, b, newTLSFiles(t))
	l := listen(t, tls.Config{MaxFiles: openSSL}, lab)
	client := startPeer(t, a, "", nil, "/usr/bin/python3", "-c", fmt.Sprintf(`
import http.client, ssl
for i in range(%d):
    c = http.client.HTTPSConnection("10.0.0.2", 443, context=ssl._create_unverified_context())
    c.request("GET", "/number%%d" %% i)
    c.getresponse().read()
    c.close()
`, count))
	pid := client.pid()
	client.wait(t)
	l.until("all connections", func() bool { return l.overs(pid) == count && l.overs(server.pid()) == count })
	for i, k := range l.of(pid) {
		if want := fmt.Sprintf("GET /number%d HTTP/1.1\r\n", i); !strings.HasPrefix(string(k.said[1]), want) || strings.Count(string(k.said[1]), "GET ") != 1 {
			t.Errorf("connection %d: got %q, want %q alone", i, k.said[1], want)
		}
	}
	l.wantNoLosses()
}

// noHTTP speaks something else, and then writes more than the socket takes, in
// pieces and with refusals; then a request with a body larger than is copied.
const noHTTP = `
import select, socket, ssl
context = ssl._create_unverified_context()
def connect():
    return context.wrap_socket(socket.create_connection(("10.0.0.2", 4433)))
def send(c, data):
    data, refused = memoryview(data), 0
    while data:
        try:
            n = c.send(data[:100000])
            data = data[n:]
        except ssl.SSLWantWriteError:
            refused += 1
            select.select([], [c], [])
    return refused
c = connect()
c.sendall(b"\x00\x01 neither GET nor HTTP/1.1")
c.close()
c = connect()
c.setblocking(False)
head = b"POST /large HTTP/1.1\r\nHost: peer\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
refused = send(c, head + b"x" * %d)
c.setblocking(True)
c.recv(10)
c.close()
print("refused", refused)
`

// TestTLSBounds copies nothing of what is no HTTP and no more of a body than it
// should, and says what is missing, however it was written.
func TestTLSBounds(t *testing.T) {
	need.Root(t)
	need.Time(t)
	const body, copied = 3_000_000, 2000
	lab, a, b := cable(t)
	f := newTLSFiles(t)
	// A server that lets the client wait.
	script := fmt.Sprintf(`
import socket, ssl, time
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(%q, %q)
listener = socket.create_server(("10.0.0.2", 4433))
while True:
    c, _ = listener.accept()
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    c = context.wrap_socket(c, server_side=True)
    got, length = 0, None
    while got != length:
        b = c.recv(65536)
        if not b: break
        if length is None: length = b.find(b"\r\n\r\n") + 4 + %d
        got += len(b)
    try: c.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    except OSError: pass
    c.close()
`, f.cert, f.key, body)
	server := startPeer(t, b, "", nil, "/usr/bin/python3", "-c", script)
	awaitPort(t, b, 4433)
	l := listen(t, tls.Config{BodyBytes: copied, MaxFiles: openSSL}, lab)
	client := startPeer(t, a, "", nil, "/usr/bin/python3", "-c", fmt.Sprintf(noHTTP, body, body))
	pid := client.pid()
	client.wait(t)
	if strings.Contains(client.out.String(), "refused 0") {
		t.Errorf("the client was never refused: the test sees nothing; it said %q", client.out.String())
	}
	l.until("both ends", func() bool { return l.overs(pid) == 1 && l.overs(server.pid()) == 1 })
	l.drain()
	if len(l.order) != 2 {
		t.Fatalf("got %s\nwant two ends, and nothing of what is no HTTP", l)
	}
	for _, k := range l.talks {
		d := 0
		if k.pid == pid {
			d = 1
		}
		head := strings.Index(string(k.said[d]), "\r\n\r\n") + 4
		if got, want := len(k.said[d])+k.missing[d], head+body; len(k.said[d]) != copied || got != want {
			t.Errorf("process %d: got %d bytes and %d missing, want %d of %d", k.pid, len(k.said[d]), k.missing[d], copied, want)
		}
	}
	l.wantNoLosses()
}

// TestTLSMidway begins to read in the middle of connections: from the next head
// on, also if it comes letter by letter, and without a SYN.
func TestTLSMidway(t *testing.T) {
	need.Root(t)
	need.Time(t)
	lab, a, b := cable(t)
	f := newTLSFiles(t)
	server := startNginx(t, b, f)
	asked, watched := filepath.Join(f.dir, "asked"), filepath.Join(f.dir, "watched")
	client := startPeer(t, a, "", nil, "/usr/bin/python3", "-c", fmt.Sprintf(`
import os, socket, ssl, time
c = ssl._create_unverified_context().wrap_socket(socket.create_connection(("10.0.0.2", 443)))
def ask(*pieces):
    for p in pieces: c.sendall(p)
    got = b""
    while not got.endswith(b" here\n"): got += c.recv(4096)
ask(b"GET /first HTTP/1.1\r\nHost: peer\r\n\r\n")
open(%q, "w")
while not os.path.exists(%q): time.sleep(0.01)
ask(*[b"GET /second HTTP/1.1\r\nHost: peer\r\n\r\n"[i:i+1] for i in range(40)])
c.close()
`, asked, watched))
	netlab.WaitFor(t, "the first request", func() bool { _, err := os.Stat(asked); return err == nil })
	l := listen(t, tls.Config{MaxFiles: openSSL}, lab)
	check(t, os.WriteFile(watched, nil, 0o600))
	pid := client.pid()
	client.wait(t)
	l.until("both ends", func() bool { return l.overs(pid) == 1 && l.overs(server.pid()) == 1 })
	for _, k := range l.talks {
		d := 0
		if k.pid == pid {
			d = 1
		}
		if got := string(k.said[d]); got != "GET /second HTTP/1.1\r\nHost: peer\r\n\r\n" {
			t.Errorf("process %d: got %q", k.pid, got)
		}
		if k.begun[0] || k.begun[1] || k.client || k.server || !strings.HasSuffix(string(k.said[1-d]), "/second here\n") {
			t.Errorf("got %s\nwant the second answer, and nothing of a beginning", l)
		}
	}
}

// TestTLSInMemory tells a connection whose library never sees a socket, without
// addresses.
func TestTLSInMemory(t *testing.T) {
	need.Root(t)
	need.Time(t)
	lab, a, b := cable(t)
	startNginx(t, b, newTLSFiles(t))
	l := listen(t, tls.Config{MaxFiles: openSSL}, lab)
	client := startPeer(t, a, "", nil, "/usr/bin/python3", "-c", `
import asyncio, ssl
async def main():
    r, w = await asyncio.open_connection("10.0.0.2", 443, ssl=ssl._create_unverified_context())
    w.write(b"GET /memory HTTP/1.1\r\nHost: peer\r\nConnection: close\r\n\r\n")
    await r.read()
    w.close()
asyncio.run(main())
`)
	pid := client.pid()
	client.wait(t)
	l.until("the client", func() bool {
		return len(l.of(pid)) == 1 && strings.Contains(string(l.of(pid)[0].said[0]), "/memory here")
	})
	if k := l.of(pid)[0]; k.local.Port() != 0 || k.remote.Port() != 0 || !strings.HasPrefix(string(k.said[1]), "GET /memory ") || !k.client {
		t.Errorf("got %s", l)
	}
	l.wantNoLosses()
}

// TestTLSKilled kills who watches: nothing of it is left.
func TestTLSKilled(t *testing.T) {
	need.Root(t)
	need.Time(t)
	self, err := os.Executable()
	check(t, err)
	watcher := exec.Command(self, "watch")
	watcher.Env = append(os.Environ(), helperEnv+"="+tlsHelper)
	out, err := watcher.StdoutPipe()
	check(t, err)
	check(t, watcher.Start())
	t.Cleanup(func() { _, _ = watcher.Process.Kill(), watcher.Wait() })
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatalf("wait for the watcher: %v", err)
	}
	programs, links := idsOf(t, watcher.Process.Pid, "prog_id"), idsOf(t, watcher.Process.Pid, "link_id")
	if len(programs) == 0 || len(links) == 0 {
		t.Errorf("got %d programs and %d links: the test sees nothing", len(programs), len(links))
	}
	check(t, watcher.Process.Kill())
	_ = watcher.Wait()
	gone(t, "program", programs, func(id uint32) error {
		p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		return errors.Join(err, closed(err, p))
	})
	gone(t, "link", links, func(id uint32) error {
		l, err := link.NewFromID(link.ID(id))
		return errors.Join(err, closed(err, l))
	})
}
