package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch is how many datagrams one system call takes.
const batch = 64

// payload makes a frame of 64 bytes: 14 of Ethernet, 20 of IPv4, 8 of UDP,
// and 4 of frame check sequence, which a veth has not.
const payload = 64 - 14 - 20 - 8 - 4

// mmsghdr is struct mmsghdr of sendmmsg(2) and recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// flood sends datagrams to a set of destinations. It belongs to one goroutine.
type flood struct {
	fd   int
	data [payload]byte
	iov  unix.Iovec
	addr []unix.RawSockaddrInet4
	msgs []mmsghdr // as many batches as go round the destinations once
	at   int       // in msgs: the next batch
	to   *inbox    // whose receiver it is, nil if nobody receives
}

// newFlood prepares to send from an unconnected socket, in an order that is
// random and always the same.
func newFlood(fd int, to []netip.AddrPort, in *inbox) *flood {
	f := &flood{fd: fd, to: in, addr: make([]unix.RawSockaddrInet4, len(to))}
	f.iov.Base = &f.data[0]
	f.iov.SetLen(payload)
	for i, at := range rand.New(rand.NewPCG(1, 2)).Perm(len(to)) {
		port := to[at].Port()
		f.addr[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port>>8 | port<<8, Addr: to[at].Addr().As4()}
	}
	f.msgs = make([]mmsghdr, (len(to)+batch-1)/batch*batch)
	for i := range f.msgs {
		h := &f.msgs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&f.addr[i%len(to)]))
		h.Namelen = unix.SizeofSockaddrInet4
		h.Iov = &f.iov
		h.SetIovlen(1)
	}
	return f
}

// run sends for about d and returns how many datagrams went out. Sender and
// receiver take turns on one CPU, which has nothing else to do: the rate then
// is the inverse of what a packet costs there.
func (f *flood) run(d time.Duration) (sent uint64, err error) {
	defer pin()()
	for end := time.Now().Add(d); time.Now().Before(end); {
		n, err := f.round()
		sent += n
		if err == nil && f.to != nil {
			err = f.to.empty()
		}
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// round sends one batch and moves on to the next.
func (f *flood) round() (uint64, error) {
	msgs := f.msgs[f.at : f.at+batch]
	f.at = (f.at + batch) % len(f.msgs)
	n, err := mmsg(unix.SYS_SENDMMSG, f.fd, msgs, 0)
	if errors.Is(err, unix.EINTR) {
		err = nil
	}
	if err != nil {
		return 0, fmt.Errorf("send datagrams: %w", err)
	}
	return uint64(n), nil
}

func mmsg(call uintptr, fd int, msgs []mmsghdr, flags uintptr) (int, error) {
	n, _, errno := unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// inbox takes in what a socket gets. It belongs to the goroutine that floods:
// on a CPU of its own the receiver would be measured by how two CPUs fight for
// the same memory, which differs from second to second.
type inbox struct {
	fd   int
	buf  [64]byte
	iov  unix.Iovec
	msgs []mmsghdr
}

func newInbox(fd int) *inbox {
	in := &inbox{fd: fd, msgs: make([]mmsghdr, batch)}
	in.iov.Base = &in.buf[0]
	in.iov.SetLen(len(in.buf))
	for i := range in.msgs {
		in.msgs[i].hdr.Iov = &in.iov
		in.msgs[i].hdr.SetIovlen(1)
	}
	return in
}

// empty takes in what is there. A signal to this thread is no error: whatever
// it kept back comes with the next call.
func (in *inbox) empty() error {
	for {
		n, err := mmsg(unix.SYS_RECVMMSG, in.fd, in.msgs, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			return nil
		case err != nil:
			return fmt.Errorf("receive datagrams: %w", err)
		case n < batch:
			return nil
		}
	}
}
