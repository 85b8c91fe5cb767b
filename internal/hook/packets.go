package hook

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/kernel"
)

// Packets reads the ring that bpf/lib/copy.h writes. It is for one goroutine.
type Packets struct {
	ring  *ringbuf.Reader
	raw   ringbuf.Record
	parts datagrams
}

// NewPackets opens the ring of a collection.
func NewPackets(coll *ebpf.Collection) (*Packets, error) {
	ring, err := ringbuf.NewReader(coll.Maps["packets"])
	if err != nil {
		return nil, fmt.Errorf("open the ring of packets: %w", err)
	}
	return &Packets{ring: ring}, nil
}

// Next reads the next packet into e and returns its payload, which is good
// until the next call, and waits for one until deadline. ok is false if there is
// none. A datagram comes whole, or as far as it goes with e.Missing; a segment as
// it is in the ring.
func (p *Packets) Next(deadline time.Time, e *decode.PacketEvent) (payload []byte, ok bool, err error) {
	for {
		payload, ok, err = p.row(deadline, e)
		switch {
		case err != nil:
			return nil, false, err
		case !ok:
			payload, ok = p.parts.late(e, deadline)
			return payload, ok, nil
		}
		if payload, ok = p.parts.add(e, payload, deadline); ok {
			return payload, true, nil
		}
	}
}

// row reads the next row.
func (p *Packets) row(deadline time.Time, e *decode.PacketEvent) (payload []byte, ok bool, err error) {
	p.ring.SetDeadline(deadline)
	err = p.ring.ReadInto(&p.raw)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("read the ring of packets: %w", err)
	}
	payload, err = decode.Packet(p.raw.RawSample, e)
	return payload, err == nil, err
}

// Waiting returns how many bytes wait to be read, and how many there is room
// for.
func (p *Packets) Waiting() (bytes, size int) { return p.ring.AvailableBytes(), p.ring.BufferSize() }

// Close frees the ring.
func (p *Packets) Close() error { return p.ring.Close() }

// AtSockets attaches the programs that see packets where sockets of the cgroup
// root send and receive them. The error wraps kernel.ErrNotAllowed where there is
// no cgroup to hang them on; then nothing is attached.
func AtSockets(root string, out, in *ebpf.Program) ([]link.Link, error) {
	if root == "" {
		return nil, fmt.Errorf("%w: packets of sockets are seen at cgroups, and no cgroup2 hierarchy is mounted: "+
			"mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified", kernel.ErrNotAllowed)
	}
	sent, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: ebpf.AttachCGroupInetEgress, Program: out})
	if err != nil {
		return nil, fmt.Errorf("watch what sockets of %s send: %w", root, err)
	}
	received, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: ebpf.AttachCGroupInetIngress, Program: in})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch what sockets of %s receive: %w", root, err), sent.Close())
	}
	return []link.Link{sent, received}, nil
}
