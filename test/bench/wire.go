package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/test/netlab"
)

// Where everything is. The receiver takes every address of manyNet for its
// own, so that one sender and one receiving socket can make many flows.
const (
	senderAddr   = "10.77.0.1"
	receiverAddr = "10.77.0.2"
	manyNet      = "10.78.0.0/16"
	openPort     = 7777
	closedPort   = 9
	tcpPort      = "8888"
)

// wire is two namespaces joined by a veth.
type wire struct {
	tx, rx *netlab.NetNS
	open   *inbox // of openPort
}

func newWire(tb netlab.TB) *wire {
	lab := netlab.New(tb)
	w := &wire{tx: lab.NetNS("tx"), rx: lab.NetNS("rx")}
	lab.Veth(w.tx, "wire", w.rx, "wire")
	w.tx.Addr("wire", senderAddr+"/24")
	w.rx.Addr("wire", receiverAddr+"/24")
	w.tx.Neigh("wire", receiverAddr, w.rx.MAC("wire"))
	w.rx.Neigh("wire", senderAddr, w.tx.MAC("wire"))
	w.tx.Route(manyNet, receiverAddr)
	w.rx.Exec("ip", "route", "add", "local", manyNet, "dev", "lo")
	s := w.rx.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	s.SetInt(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	w.rx.Must("bind the receiver", unix.Bind(s.FD, &unix.SockaddrInet4{Port: openPort}))
	w.open = newInbox(s.FD)
	return w
}

// workload is one kind of traffic.
type workload struct {
	name  string
	flows int    // of UDP; 0 is one TCP connection
	port  uint16 // that UDP goes to
}

// workloads returns what is compared.
func workloads() []workload {
	return []workload{
		{"64-byte UDP, 1 flow", 1, openPort},
		{"64-byte UDP, 5,000 flows", 5000, openPort},
		{"64-byte UDP to a closed port, 1 flow", 1, closedPort},
		{"64-byte UDP to a closed port, 5,000 flows", 5000, closedPort},
		{"TCP with GSO, 1 connection", 0, 0},
	}
}

// segment is the payload of a full TCP packet at an MTU of 1,500 with
// timestamps: how many wire packets a TCP stream is.
const segment = 1448

// play runs the workload for about d and returns how many packets it was.
func (w *wire) play(l workload, d time.Duration) (packets uint64, err error) {
	if l.flows == 0 {
		return w.stream(d)
	}
	s := w.tx.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	defer s.Close()
	if err := unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4<<20); err != nil {
		return 0, fmt.Errorf("enlarge the send buffer: %w", err)
	}
	var in *inbox
	if l.port == openPort {
		in = w.open
	}
	return newFlood(s.FD, destinations(l), in).run(d)
}

// destinations returns the addresses of a workload's flows.
func destinations(l workload) []netip.AddrPort {
	if l.flows == 1 {
		return []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(receiverAddr), l.port)}
	}
	to := make([]netip.AddrPort, l.flows)
	addr := netip.MustParsePrefix(manyNet).Addr()
	for i := range to {
		addr = addr.Next()
		to[i] = netip.AddrPortFrom(addr, l.port)
	}
	return to
}

// stream sends on one TCP connection for about d.
func (w *wire) stream(d time.Duration) (packets uint64, err error) {
	out, in := netlab.ConnectTCP(w.tx, w.rx, receiverAddr+":"+tcpPort)
	read := make(chan uint64, 1)
	go func() {
		buf := make([]byte, 1<<20)
		var n uint64
		for {
			k, err := in.Read(buf)
			n += uint64(k)
			if err != nil {
				read <- n
				return
			}
		}
	}()
	if err := out.SetWriteDeadline(time.Now().Add(d)); err != nil {
		return 0, fmt.Errorf("set the stream's end: %w", err)
	}
	buf := make([]byte, 256<<10)
	for err == nil {
		_, err = out.Write(buf)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, fmt.Errorf("send on TCP: %w", err)
	}
	err = out.Close()
	n := <-read
	return n / segment, errors.Join(err, in.Close())
}

// pin keeps the calling goroutine's thread on the last CPU that it may use: the
// first ones have more of the machine's other work.
func pin() (unpin func()) {
	runtime.LockOSThread()
	var all, one unix.CPUSet
	if unix.SchedGetaffinity(0, &all) != nil {
		return runtime.UnlockOSThread
	}
	var cpus []int
	for i := range 8 * len(all) * 8 {
		if all.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	one.Set(cpus[len(cpus)-1])
	if unix.SchedSetaffinity(0, &one) != nil {
		return runtime.UnlockOSThread
	}
	return func() {
		// A thread that stays pinned must not serve other goroutines.
		if unix.SchedSetaffinity(0, &all) == nil {
			runtime.UnlockOSThread()
		}
	}
}
