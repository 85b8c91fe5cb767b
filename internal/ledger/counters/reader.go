package counters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netfate/netfate/internal/ethtool"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/nft"
	"github.com/netfate/netfate/internal/record"
)

// The bounds of a sample. What does not fit is left out and counted in
// Sample.Lost.
const (
	maxNamespaces = 4096
	maxInterfaces = 4096  // a namespace
	maxQueues     = 16384 // qdiscs, classes, filters, tcx programs of a namespace, each
	maxSockets    = 1024  // a namespace; those with most drops are kept
	maxListeners  = 1024  // a namespace
	maxRules      = 4096  // a namespace: rules that drop, policies, counters, each
	maxActions    = 32    // a filter; the kernel's TCA_ACT_MAX_PRIO
	maxNetlink    = 32    // namespaces of which netlink sockets are read, see errCostly
	maxCPUs       = 8192
)

// Reader reads samples. It keeps buffers and names from one to the next, and
// nothing else. Not for concurrent use.
type Reader struct {
	texts    texts
	schemas  schemas
	driver   ethtool.Statistics
	programs map[uint32]string   // names, by id; ids are not used again
	rules    map[string]nft.Rule // in words, by expressions without their counts
	scratch  []byte
	noTCX    bool
}

// New returns a reader that has read nothing yet.
func New() *Reader {
	return &Reader{programs: map[uint32]string{}, rules: map[string]nft.Rule{}}
}

// Sample reads the host's counters and those of the given namespaces, on a
// thread of its own, and returns once all are read or ctx is over: those that
// are not read by then are gaps, as is whatever cannot be read.
func (r *Reader) Sample(ctx context.Context, places []Place) *Sample {
	s := &Sample{Start: time.Now()}
	kernel.OnOwnThread(func() { r.run(ctx, s, places) })
	s.Took = time.Since(s.Start)
	return s
}

// run takes a sample. The calling thread ends in another namespace.
func (r *Reader) run(ctx context.Context, s *Sample, places []Place) {
	before := threadCPU()
	lost := losses{}
	if n := len(places) - maxNamespaces; n > 0 {
		places = places[:maxNamespaces]
		lost.add("namespaces", uint64(n))
	}
	s.Namespaces = make([]Namespace, len(places))
	l, err := open()
	if err == nil {
		defer l.close()
		host := reading{Reader: r, source: l, start: s.Start, lost: lost}
		host.host(&s.Host)
	} else {
		s.Host.Gaps = []Gap{{Part: PartSoftnet, Why: reason(err)}}
	}
	for i, p := range places {
		n := &s.Namespaces[i]
		n.Place = p
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			n.Gaps = []Gap{{Part: PartNamespace, Why: reason(err)}}
			continue
		}
		visit := reading{Reader: r, source: l, start: s.Start, lost: lost, reads: make([]Read, 0, 19), costly: i >= maxNetlink}
		visit.part(PartNamespace, func() error { return l.enter(&n.Place) })
		if len(visit.gaps) == 0 {
			visit.namespace(n)
		}
		n.Reads, n.Gaps = visit.reads, visit.gaps
		l.leave()
	}
	s.Lost = lost.list(time.Now())
	s.CPU = threadCPU() - before
}

// threadCPU returns what the calling thread has used.
func threadCPU() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// reading is the visit to one namespace, or to the host.
type reading struct {
	*Reader
	source
	start time.Time
	now   Part // being read
	lost  losses
	reads []Read
	gaps  []Gap
	// costly says to leave out what costs more with each namespace.
	costly bool
}

// part reads one part and notes when, and why it is missing if it is.
func (r *reading) part(p Part, read func() error) {
	begin := time.Since(r.start)
	r.now = p
	err := read()
	r.reads = append(r.reads, Read{Part: p, Start: begin, End: time.Since(r.start)})
	if err != nil {
		r.gap(p, "", err)
	}
}

// maxGaps bounds the gaps of a namespace: one for each interface would say
// nothing new.
const maxGaps = 64

func (r *reading) gap(p Part, subject string, err error) {
	if len(r.gaps) < maxGaps {
		r.gaps = append(r.gaps, Gap{Part: p, Subject: subject, Why: reason(err)})
	}
}

// host reads what is not of a namespace.
func (r *reading) host(h *Host) {
	r.part(PartSoftnet, func() error {
		text, err := r.file("softnet_stat")
		if err != nil {
			return err
		}
		h.Softnet, err = parseSoftnet(text)
		return err
	})
	h.Reads, h.Gaps = r.reads, r.gaps
}

// namespace reads all parts. Those that are compared with each other are read
// in the order in which packets pass them, close together.
func (r *reading) namespace(n *Namespace) {
	r.part(PartLinks, func() error { return r.links(n) })
	r.part(PartQdiscs, func() error { return r.qdiscs(n) })
	r.part(PartSNMP, func() error { return r.counters("snmp", &n.SNMP, r.schemas.pairs) })
	r.part(PartNetstat, func() error { return r.counters("netstat", &n.Netstat, r.schemas.pairs) })
	r.part(PartSNMP6, func() error { return r.counters("snmp6", &n.SNMP6, r.schemas.column) })
	r.part(PartXfrm, func() error { return r.counters("xfrm_stat", &n.Xfrm, r.schemas.column) })
	r.part(PartNFT, func() error { return r.nft(n) })
	r.part(PartConntrack, func() error { return r.conntrack(n) })
	all := true // sockets have to be asked for, since it is not known that there are none
	r.part(PartSockstat, func() (err error) {
		err = r.sockstat(&n.Sockstat)
		all = err != nil
		return err
	})
	var sockets socketList
	r.part(PartUDP, func() error { return r.udp(n.Sockstat, all, &sockets) })
	r.part(PartRaw, func() error { return r.rawSockets(n.Sockstat, &sockets) })
	r.part(PartPacket, func() error { return r.packetSockets(&sockets) })
	if r.costly {
		r.gap(PartNetlink, "", errCostly)
	} else {
		r.part(PartNetlink, func() error { return r.netlinkSockets(&sockets) })
	}
	r.part(PartListeners, func() error { return r.listeners(n, all) })
	n.Sockets, n.SocketSums = sockets.finish()
	for _, s := range n.SocketSums {
		r.lost.add("sockets", s.RestSockets)
	}
	r.programsOf(n)
	r.part(PartClasses, func() error { return r.classes(n) })
	r.part(PartFilters, func() error { return r.filters(n) })
	r.part(PartTCX, func() error { return r.attached(n) })
	r.part(PartEthtool, func() error { return r.drivers(n) })
}

// counters reads a file of /proc/net.
func (r *reading) counters(name string, c *Counters, parse func([]byte) (Counters, error)) error {
	text, err := r.file(name)
	if err != nil {
		return err
	}
	*c, err = parse(text)
	return err
}

// list asks for a list that may change while it is read: then it is read again.
// Where something always changes, what was read last is kept.
func (r *reading) list(q request, begin func(), each func(body []byte)) error {
	q.dump = true
	var err error
	for range 3 {
		begin()
		if err = r.ask(q, each); !errors.Is(err, errInterrupted) {
			return err
		}
	}
	r.gap(r.now, "what came or went", err)
	return nil
}

// maxPrograms bounds the names that are kept.
const maxPrograms = 8192

// name completes a program that is attached.
func (r *reading) name(p *Program) {
	if p.ID == 0 {
		return
	}
	name, ok := r.programs[p.ID]
	if !ok {
		var err error
		if name, err = r.program(p.ID); err != nil {
			return // it is shown by its number
		}
		if len(r.programs) >= maxPrograms {
			clear(r.programs)
		}
		r.programs[p.ID] = name
	}
	p.Name = name
}

// programsOf names the XDP programs of interfaces.
func (r *reading) programsOf(n *Namespace) {
	for i := range n.Interfaces {
		r.name(&n.Interfaces[i].XDP.Program)
	}
}

// errCostly is why a namespace's netlink sockets are not read: for each the
// kernel walks those of all namespaces, so that 200 namespaces would cost 40
// times what five do. What such a socket drops is no packet.
var errCostly = fmt.Errorf("it is read in the first %d namespaces only, since its cost grows with the square of their number", maxNetlink)

// losses counts what bounds left out, by what it is.
type losses map[string]uint64

func (l losses) add(what string, count uint64) {
	if count > 0 {
		l[what] += count
	}
}

func (l losses) list(now time.Time) []record.Lost {
	var list []record.Lost
	for what, count := range l {
		list = append(list, record.Lost{
			Time: now, Place: "ledger_" + what, Reason: "full", Count: count,
			Effect: "the kernel's counters of so many " + what + " are left out of the ledger",
		})
	}
	slices.SortFunc(list, func(a, b record.Lost) int { return cmp.Compare(a.Place, b.Place) })
	return list
}

// reason says in a sentence why something could not be read.
func reason(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "there was no time left to read it"
	case errors.Is(err, errReplaced), errors.Is(err, errInterrupted), errors.Is(err, errNoTCX):
		return err.Error()
	case errors.Is(err, os.ErrPermission):
		if os.Geteuid() == 0 {
			return fmt.Sprintf("not permitted, even to root here (%v)", err)
		}
		return fmt.Sprintf("it needs root (%v)", err)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return fmt.Sprintf("this kernel or namespace does not have it: a module is not loaded, or not built (%v)", err)
	}
	return err.Error()
}
