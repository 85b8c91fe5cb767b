package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/netfate/netfate/internal/counting"
	"github.com/netfate/netfate/internal/decode"
	"github.com/netfate/netfate/internal/enrich/identity"
	"github.com/netfate/netfate/internal/filter"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/sensor/owner"
	"github.com/netfate/netfate/internal/sensor/packet"
	"github.com/netfate/netfate/internal/table"
)

// CaptureConfig says which packets to capture.
type CaptureConfig struct {
	// Filter is for the kernel; nil takes every packet.
	Filter *filter.Pair
	// Select restricts what the sink gets.
	Select Select
	// Snaplen is how many bytes of a packet to copy, 0 for all that can be.
	Snaplen uint32
	// Every is how often packets are read.
	Every time.Duration
	// Containers names containers, and is kept at it while Capture runs; nil names none.
	Containers *identity.Table
	// Raw uses raw tracepoints even where typed ones work.
	Raw bool
}

// FrameSink takes packets. Its methods are called by one goroutine.
type FrameSink interface {
	// Frames takes packets in the order of their time, none if none came. An error ends
	// the capture.
	Frames(list []record.Frame) error
	// Missed is told how many packets of an interface found no room.
	Missed(e *record.Endpoints, n uint64)
	// Lost is told what else netfate lost.
	Lost(list []record.Lost)
	// Close flushes. It is called once, also after an error.
	Close() error
}

const (
	// maxSenders bounds the conversations of which it is known whose they are.
	maxSenders = 1 << 16
	// lookTime is how long the packets of an interface wait for its name, once: on a
	// busy host that takes longer than one refresh allows.
	lookTime  = 3 * time.Second
	lookPause = 20 * time.Millisecond
	// maxNameless bounds the interfaces that are known to have none.
	maxNameless = 4096
)

// capture is the feed of a capture. It belongs to one goroutine.
type capture struct {
	cfg     CaptureConfig
	sink    FrameSink
	names   *names
	sensor  *packet.Sensor
	clock   kernel.Clock
	senders map[table.Pair]decode.OwnerRef // whose sockets have sent
	waiting []packet.Frame                 // for their names
	// nameless are interfaces whose names were looked for in vain: they are gone.
	nameless map[decode.DeviceKey]struct{}
	list     []record.Frame
	read     uint64
}

// Captured is how many packets the kernel selected, and how many of them were read: all
// but those that found no room. What Select leaves out was read.
type Captured struct{ Matched, Read uint64 }

// Capture copies packets of this host until ctx is done and gives them to the sink. It
// calls ready once everything is attached, with what this kernel lacks. Before it
// returns, everything is detached and the sink is closed.
func Capture(ctx context.Context, cfg CaptureConfig, sink FrameSink, ready func(lacks []string)) (n Captured, err error) {
	defer func() { err = errors.Join(err, sink.Close()) }()
	c := &capture{cfg: cfg, sink: sink, senders: map[table.Pair]decode.OwnerRef{}, nameless: map[decode.DeviceKey]struct{}{}}
	if err := c.wire(); err != nil {
		return n, errors.Join(err, c.close())
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.attach(); err != nil {
		return n, err
	}
	defer nameContainers(ctx, cfg.Containers)()
	ready(uniq(append(c.names.owners.Lacks(), c.sensor.Lacks()...)))
	// What was read is named, though it is over meanwhile.
	naming := context.WithoutCancel(ctx)
	for ctx.Err() == nil && err == nil {
		_, err = c.step(naming, time.Now().Add(cfg.Every))
	}
	err = errors.Join(err, c.sensor.Detach())
	for more := true; more && err == nil; {
		more, err = c.step(naming, time.Now())
	}
	n.Read = c.read
	if err != nil {
		return n, err
	}
	n.Matched, err = c.sensor.Matched()
	return n, err
}

// wire makes everything and attaches nothing.
func (c *capture) wire() error {
	types, _, err := kernel.LoadTypes()
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read the host's name: %w", err)
	}
	if err := kernel.LiftMemlock(); err != nil {
		return err
	}
	c.names = newNames(host, c.cfg.Containers, nil, nil)
	c.names.owners, err = owner.New(owner.Config{CgroupRoot: kernel.ReadMounts().Cgroup2, Types: types})
	if err == nil {
		c.sensor, err = packet.New(packet.Config{
			Filter: c.cfg.Filter, Snaplen: c.cfg.Snaplen, NetNS: c.cfg.Select.NetNS,
			Owners: c.names.owners.Owners(), Types: types, Raw: c.cfg.Raw,
		})
	}
	return kernel.Diagnose(err, "load the sensors")
}

// attach starts the sensors: owners first, so that no packet comes before its socket is
// known.
func (c *capture) attach() error {
	c.clock = kernel.ReadClock()
	if err := c.names.owners.Attach(); err != nil {
		return kernel.Diagnose(err, "attach the owner sensor")
	}
	if err := c.names.scan(time.Now()); err != nil {
		return kernel.Diagnose(err, "find the open sockets")
	}
	return kernel.Diagnose(c.sensor.Attach(), "attach the packet sensor")
}

// step reads the packets that come until then, names them and gives them on.
func (c *capture) step(ctx context.Context, until time.Time) (more bool, err error) {
	more, err = c.sensor.Read(until, func(f *packet.Frame) error {
		c.waiting = append(c.waiting, *f)
		return nil
	})
	if err != nil {
		return false, err
	}
	c.clock = kernel.ReadClock()
	for i := range c.waiting {
		c.want(&c.waiting[i])
	}
	c.lookUp(ctx)
	if err := c.names.rescan(time.Now()); err != nil {
		return false, err
	}
	c.list = c.list[:0]
	for i := range c.waiting {
		c.add(&c.waiting[i])
	}
	c.read += uint64(len(c.waiting))
	clear(c.waiting)
	c.waiting = c.waiting[:0]
	err = c.sink.Frames(c.list)
	clear(c.list)
	if err != nil {
		return false, err
	}
	return more, c.losses()
}

// want finds whose a packet is, and asks for its names.
func (c *capture) want(f *packet.Frame) {
	head := f.Head(f.Bytes)
	sent := f.Out != 0
	if t, ok := head.Tuple(); ok {
		pair := table.PairOf(&t, f.NetNS, sent, false)
		switch {
		case f.Owner.PID != 0:
			if len(c.senders) >= maxSenders {
				clear(c.senders)
			}
			c.senders[pair] = f.Owner
		case c.senders[pair].PID != 0:
			f.Owner = c.senders[pair]
		default:
			f.Owner, _ = c.names.Owner(&pair)
		}
	}
	c.names.want(f.NetNS, f.IfIndex, f.Owner)
}

// lookUp finds what was asked for, as often as it takes to know the interfaces.
func (c *capture) lookUp(ctx context.Context) {
	began := time.Now()
	c.names.refresh(ctx)
	for i := range c.waiting {
		f := &c.waiting[i]
		key := decode.DeviceKey{NetNS: f.NetNS, IfIndex: f.IfIndex}
		for _, gone := c.nameless[key]; !gone && !c.names.device(f.NetNS, f.IfIndex).Known; _, gone = c.nameless[key] {
			if time.Since(began) < lookTime {
				time.Sleep(lookPause)
				c.names.refresh(ctx)
				continue
			}
			if len(c.nameless) >= maxNameless {
				clear(c.nameless)
			}
			c.nameless[key] = struct{}{}
		}
	}
}

// add makes the record of a packet, if it is selected.
func (c *capture) add(f *packet.Frame) {
	r := record.Frame{Direction: record.In, Segments: uint32(f.Segments)}
	if f.Out != 0 {
		r.Direction = record.Out
	}
	r.Time, r.Host = c.clock.Wall(f.Time), c.names.host
	c.names.where(&r.Endpoints, f.NetNS, f.IfIndex)
	r.Owner = c.names.owner(f.Owner)
	if !c.cfg.Select.Match(&r.Endpoints) {
		return
	}
	head := f.Head(f.Bytes)
	r.Link, r.Packet, r.Length = head.Frame(int(c.cfg.Snaplen))
	c.list = append(c.list, r)
}

// losses tells the sink what could not be kept.
func (c *capture) losses() error {
	err := c.sensor.Missed(func(k decode.DeviceKey, n uint64) {
		var e record.Endpoints
		c.names.where(&e, k.NetNS, k.IfIndex)
		c.sink.Missed(&e, n)
	})
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	var lost []record.Lost
	for _, read := range []func() ([]counting.Loss, error){c.names.owners.Losses, c.sensor.Losses} {
		losses, err := read()
		if err != nil {
			return err
		}
		for _, l := range losses {
			lost = append(lost, record.Lost{Time: now, Place: l.Place, Reason: l.Reason, Count: l.Count, Effect: l.Effect})
		}
	}
	c.sink.Lost(lost)
	return nil
}

// close frees everything. It may be called on a half-made feed.
func (c *capture) close() error {
	var errs []error
	if c.sensor != nil {
		errs = append(errs, c.sensor.Close())
	}
	if c.names != nil && c.names.owners != nil {
		errs = append(errs, c.names.owners.Close())
	}
	return errors.Join(errs...)
}
