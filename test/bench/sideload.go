package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/bench/peers"
)

// Where the loads of the jobs go, beside those of [wire].
const (
	filteredPort = 10
	webPort      = 80
	namePort     = 53
	sinkPort     = 8889
)

// played is a load that is over, and what of it there was to see.
type played struct {
	events   uint64        // packets, requests or queries
	truth    peers.Told    // what a tool that misses nothing tells
	children time.Duration // CPU time of processes that took part
}

// job is a question with the load that it is asked of.
type job struct {
	name   peers.Job
	title  string
	event  string  // what the costs are of
	text   string  // what is played, and what is right
	within float64 // how far off, in parts of one, is still right
	play   func(*wire, time.Duration) (played, error)
	// begin returns what causes one event at a time, and the key that tools tell it by.
	begin func(*wire) (*ticker, error)
}

func jobs() []job {
	return []job{
		{
			name: peers.Drops, title: "Drops by reason", event: "packet",
			text: "A flood of 64-byte UDP packets goes to four ports: nobody listens on two, and an nft rule drops what goes to the other two. Right is a reason whose number of packets is exact.",
			play: playDrops, begin: beginDrops,
		},
		{
			name: peers.Flows, title: "Flows", event: "packet",
			text: "A flood of 64-byte UDP packets in 1,000 flows in random order, all received. Right is a flow whose packets and bytes are exact.",
			play: playFlows, begin: beginFlows,
		},
		{
			name: peers.Processes, title: "Bandwidth by process", event: "packet", within: 0.1,
			text: "Three processes send on TCP, one UDP, at the same time and as fast as they can; then eight more, one after the other, each 1 MB on TCP. Seen is the share of their bytes; " +
				"right is a process whose bytes are as many as it has sent, and at most 10 % more, since some tools count headers.",
			play: playProcesses, begin: beginProcesses,
		},
		{
			name: peers.URLs, title: "Requests by URL", event: "request",
			text: "GET requests for 50 paths over 16 connections that are kept, one request at a time. Right is a path whose number of requests is exact.",
			play: playURLs, begin: beginURLs,
		},
		{
			name: peers.Names, title: "DNS questions by name", event: "query",
			text: "Questions for 50 names, one at a time, each answered. Right is a name whose number of questions is exact.",
			play: playNames, begin: beginNames,
		},
	}
}

// playDrops floods ports that nobody listens on, and ports that are filtered.
func playDrops(w *wire, d time.Duration) (played, error) {
	to := netip.MustParseAddr(receiverAddr)
	p, err := playFlood(w, []netip.AddrPort{
		netip.AddrPortFrom(to, closedPort), netip.AddrPortFrom(to, closedPort+2), netip.AddrPortFrom(to, filteredPort), netip.AddrPortFrom(to, filteredPort+2),
	}, nil, d)
	byReason := peers.Told{}
	for key, c := range p.truth {
		reason := "NO_SOCKET"
		if port := netip.MustParseAddrPort(key).Port(); port == filteredPort || port == filteredPort+2 {
			reason = "NETFILTER_DROP"
		}
		byReason[reason] = peers.Count{Events: byReason[reason].Events + c.Events}
	}
	p.truth = byReason
	return p, err
}

func playFlows(w *wire, d time.Duration) (played, error) {
	return playFlood(w, destinations(workload{flows: 1000, port: openPort}), w.open, d)
}

// playFlood sends to the destinations in turns for about d, and counts what went to
// each.
func playFlood(w *wire, to []netip.AddrPort, in *inbox, d time.Duration) (p played, err error) {
	s := w.tx.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	defer s.Close()
	if err := unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4<<20); err != nil {
		return p, fmt.Errorf("enlarge the send buffer: %w", err)
	}
	f := newFlood(s.FD, to, in)
	sent := make([]uint64, len(to)) // by the index of f.addr
	defer pin()()
	for end := time.Now().Add(d); time.Now().Before(end); {
		at := f.at
		n, err := f.round()
		if err == nil && in != nil {
			err = in.empty()
		}
		if err != nil {
			return p, err
		}
		for i := range n {
			sent[(at+int(i))%len(to)]++
		}
	}
	p.truth = peers.Told{}
	for i, n := range sent {
		port := f.addr[i].Port
		key := netip.AddrPortFrom(netip.AddrFrom4(f.addr[i].Addr), port>>8|port<<8).String()
		p.truth[key] = peers.Count{Events: n, Bytes: n * (20 + 8 + payload)}
		p.events += n
	}
	return p, nil
}

// sending is one process, and what it is to send.
type sending struct {
	to     string // as socat takes it
	piece  uint64 // bytes of one write, which of UDP is one datagram
	packet uint64 // bytes of payload on the wire in one packet
	bytes  uint64
}

// playProcesses has processes send for about d.
func playProcesses(w *wire, d time.Duration) (p played, err error) {
	p.truth = peers.Told{}
	stop, err := openSinks(w)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	const megabytes = 1 << 20
	tcp, udp := "TCP4:"+receiverAddr+":"+tcpPort, fmt.Sprintf("UDP4:%s:%d", receiverAddr, sinkPort)
	scale := func(mb float64) uint64 { return max(1, uint64(mb*d.Seconds())) * megabytes }
	var many []*sender
	for _, s := range []sending{
		{tcp, 128 << 10, segment, scale(300)}, {tcp, 128 << 10, segment, scale(150)}, {tcp, 128 << 10, segment, scale(75)}, {udp, 1024, 1024, scale(25)},
	} {
		started, err := startSender(w, s)
		if err != nil {
			return p, err
		}
		many = append(many, started)
	}
	for _, s := range many {
		if err := s.wait(&p); err != nil {
			return p, err
		}
	}
	for range 8 {
		s, err := startSender(w, sending{tcp, 128 << 10, segment, megabytes})
		if err != nil {
			return p, err
		}
		if err := s.wait(&p); err != nil {
			return p, err
		}
	}
	return p, nil
}

// sender is a process that sends.
type sender struct {
	sending
	cmd *exec.Cmd
}

func startSender(w *wire, s sending) (*sender, error) {
	from := fmt.Sprintf("/dev/zero,readbytes=%d", s.bytes)
	cmd := exec.Command("socat", "-u", "-b", strconv.FormatUint(s.piece, 10), "OPEN:"+from, s.to)
	cmd.Stderr = os.Stderr
	if err := w.tx.Try(cmd.Start); err != nil {
		return nil, fmt.Errorf("start a process that sends: %w", err)
	}
	return &sender{s, cmd}, nil
}

// wait waits for its end and adds it to what was played.
func (s *sender) wait(p *played) error {
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("a process that sends: %w", err)
	}
	p.children += s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime()
	p.truth[strconv.Itoa(s.cmd.Process.Pid)] = peers.Count{Bytes: s.bytes}
	p.events += s.bytes / s.packet
	return nil
}

// openSinks takes in what processes send, until stop.
func openSinks(w *wire) (stop func() error, err error) {
	listener := w.rx.ListenTCP(receiverAddr + ":" + tcpPort)
	udp := w.rx.ListenUDP(fmt.Sprintf("%s:%d", receiverAddr, sinkPort))
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				return // it was closed
			}
			all.Go(func() {
				defer conn.Close()
				buf := make([]byte, 1<<20)
				for err := error(nil); err == nil; {
					_, err = conn.Read(buf)
				}
			})
		}
	})
	all.Go(func() {
		buf := make([]byte, 2048)
		for err := error(nil); err == nil; {
			_, err = udp.Read(buf)
		}
	})
	return func() error {
		err := errors.Join(listener.Close(), udp.Close())
		all.Wait()
		return err
	}, nil
}

// talk is a client and a server on one thread: what is asked, and what is answered.
type talk struct {
	out, in int // sockets
	buf     [2048]byte
}

// ask sends a question, takes it in, sends the answer and takes that in.
func (t *talk) ask(question, answer []byte) error {
	for _, way := range []struct {
		from, to int
		message  []byte
	}{{t.out, t.in, question}, {t.in, t.out, answer}} {
		if _, err := unix.Write(way.from, way.message); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		n, err := unix.Read(way.to, t.buf[:])
		for errors.Is(err, unix.EINTR) {
			n, err = unix.Read(way.to, t.buf[:])
		}
		if err == nil && n != len(way.message) {
			err = fmt.Errorf("got %d bytes, want %d", n, len(way.message))
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
	}
	return nil
}

func (t *talk) close() error { return errors.Join(unix.Close(t.out), unix.Close(t.in)) }

// newTalk takes over two sockets that speak with each other.
func newTalk(out, in interface {
	io.Closer
	File() (*os.File, error)
},
) (*talk, error) {
	t := &talk{}
	for _, end := range []struct {
		conn interface {
			io.Closer
			File() (*os.File, error)
		}
		fd *int
	}{{out, &t.out}, {in, &t.in}} {
		f, err := end.conn.File()
		if err != nil {
			return nil, fmt.Errorf("take over a socket: %w", err)
		}
		*end.fd, err = unix.Dup(int(f.Fd())) // which makes it wait in calls
		if err := errors.Join(err, f.Close(), end.conn.Close()); err != nil {
			return nil, fmt.Errorf("take over a socket: %w", err)
		}
		if err := unix.SetsockoptTimeval(*end.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
			return nil, fmt.Errorf("limit the waiting: %w", err)
		}
	}
	return t, nil
}

// words returns 50 that no tool takes for numbers or hashes.
func words() (all []string) {
	const letters = "klmnopqrstuvwxyz"
	for i := range 50 {
		all = append(all, "word"+string([]byte{letters[i/16], letters[i%16]}))
	}
	return all
}

// playTalks asks about each word in turns, each on the next of the connections.
func playTalks(talks []*talk, d time.Duration, key func(word string) string, messages func(word string) (question, answer []byte)) (p played, err error) {
	all := words()
	questions, answers := make([][]byte, len(all)), make([][]byte, len(all))
	for i, word := range all {
		questions[i], answers[i] = messages(word)
	}
	asked := make([]uint64, len(all))
	defer pin()()
	for end := time.Now().Add(d); time.Now().Before(end); p.events++ {
		i := int(p.events) % len(all)
		if err := talks[int(p.events)%len(talks)].ask(questions[i], answers[i]); err != nil {
			return p, err
		}
		asked[i]++
	}
	p.truth = peers.Told{}
	for i, n := range asked {
		p.truth[key(all[i])] = peers.Count{Events: n}
	}
	return p, nil
}

func playURLs(w *wire, d time.Duration) (p played, err error) {
	var talks []*talk
	defer func() {
		for _, t := range talks {
			err = errors.Join(err, t.close())
		}
	}()
	for range 16 {
		t, err := webTalk(w)
		if err != nil {
			return p, err
		}
		talks = append(talks, t)
	}
	return playTalks(talks, d, pathOf, webMessages)
}

func pathOf(word string) string { return "/list/" + word }

func webMessages(word string) (question, answer []byte) {
	return []byte("GET " + pathOf(word) + " HTTP/1.1\r\nHost: www.example.test\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"),
		[]byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
}

func webTalk(w *wire) (*talk, error) {
	listener := w.rx.ListenTCP(fmt.Sprintf("%s:%d", receiverAddr, webPort))
	defer listener.Close()
	var out net.Conn
	err := w.tx.Try(func() (err error) {
		out, err = net.DialTimeout("tcp", listener.Addr().String(), 10*time.Second)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	in, err := listener.AcceptTCP()
	if err != nil {
		return nil, fmt.Errorf("accept: %w", err)
	}
	return newTalk(out.(*net.TCPConn), in)
}

func playNames(w *wire, d time.Duration) (p played, err error) {
	t, err := nameTalk(w)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	return playTalks([]*talk{t}, d, nameOf, nameMessages)
}

func nameOf(word string) string { return word + ".example.test" }

// nameMessages returns a question for the address of a name, and its answer (RFC 1035, section 4).
func nameMessages(word string) (question, answer []byte) {
	labels := append([]byte{byte(len(word))}, word...)
	labels = append(labels, "\x07example\x04test\x00\x00\x01\x00\x01"...)
	// The number is the word's: each is answered before it is asked again.
	id := word[len(word)-2:]
	question = append([]byte(id+"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"), labels...)
	answer = append([]byte(id+"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"), labels...)
	return question, append(answer, "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x4d\x00\x03"...)
}

func nameTalk(w *wire) (*talk, error) {
	server := w.rx.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	at := &unix.SockaddrInet4{Port: namePort, Addr: netip.MustParseAddr(receiverAddr).As4()}
	if err := unix.Bind(server.FD, at); err != nil {
		return nil, fmt.Errorf("bind the name server: %w", err)
	}
	client := w.tx.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err := unix.Connect(client.FD, at); err != nil {
		return nil, fmt.Errorf("connect to the name server: %w", err)
	}
	from, err := unix.Getsockname(client.FD)
	if err != nil {
		return nil, fmt.Errorf("find the client's port: %w", err)
	}
	if err := unix.Connect(server.FD, from); err != nil {
		return nil, fmt.Errorf("connect the name server: %w", err)
	}
	t := &talk{}
	for _, end := range []struct {
		from int
		fd   *int
	}{{client.FD, &t.out}, {server.FD, &t.in}} {
		if *end.fd, err = unix.Dup(end.from); err != nil {
			return nil, fmt.Errorf("take over a socket: %w", err)
		}
		if err := unix.SetsockoptTimeval(*end.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
			return nil, fmt.Errorf("limit the waiting: %w", err)
		}
	}
	client.Close()
	server.Close()
	return t, nil
}

// ticker causes one event at a time, until it is stopped.
type ticker struct {
	key   string // that tools tell them by
	bytes uint64 // of one, payload
	cause func() error
	close func() error

	at   []time.Time // of each
	over chan struct{}
	done chan error
}

// pace is how often: what a tool's start takes is known as precisely.
const pace = time.Millisecond

func (t *ticker) run() {
	t.over, t.done = make(chan struct{}), make(chan error, 1)
	go func() {
		every := time.NewTicker(pace)
		defer every.Stop()
		for {
			select {
			case <-t.over:
				t.done <- nil
				return
			case <-every.C:
			}
			t.at = append(t.at, time.Now())
			if err := t.cause(); err != nil {
				t.done <- fmt.Errorf("cause an event: %w", err)
				return
			}
		}
	}()
}

func (t *ticker) stop() error {
	close(t.over)
	return errors.Join(<-t.done, t.close())
}

// datagrams causes datagrams of some bytes.
func datagrams(w *wire, key string, to netip.AddrPort, bytes int) (*ticker, error) {
	s := w.tx.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err := unix.Connect(s.FD, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	message := make([]byte, bytes)
	return &ticker{
		key: key, bytes: uint64(bytes),
		cause: func() error {
			_, err := unix.Write(s.FD, message)
			if errors.Is(err, unix.ECONNREFUSED) {
				return nil // which is what came back for an earlier one
			}
			return err
		},
		close: func() error { s.Close(); return nil },
	}, nil
}

func beginDrops(w *wire) (*ticker, error) {
	return datagrams(w, "NO_SOCKET", netip.AddrPortFrom(netip.MustParseAddr(receiverAddr), closedPort), payload)
}

func beginFlows(w *wire) (*ticker, error) {
	to := destinations(workload{flows: 2, port: openPort})[0]
	return datagrams(w, to.String(), to, payload)
}

// beginProcesses sends in this process's name, and where nobody listens: else it would
// receive in its own name, too.
func beginProcesses(w *wire) (*ticker, error) {
	return datagrams(w, strconv.Itoa(os.Getpid()), netip.AddrPortFrom(netip.MustParseAddr(receiverAddr), closedPort), 1000)
}

func beginURLs(w *wire) (*ticker, error) {
	t, err := webTalk(w)
	return asking(t, err, pathOf, webMessages)
}

func beginNames(w *wire) (*ticker, error) {
	t, err := nameTalk(w)
	return asking(t, err, nameOf, nameMessages)
}

// asking asks about the same word again and again.
func asking(t *talk, err error, key func(string) string, messages func(string) (question, answer []byte)) (*ticker, error) {
	if err != nil {
		return nil, err
	}
	word := words()[0]
	question, answer := messages(word)
	return &ticker{key: key(word), cause: func() error { return t.ask(question, answer) }, close: t.close}, nil
}
