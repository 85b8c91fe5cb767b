package owner

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/netfate/netfate/internal/counting"
)

// end is something to be known of sockets, and the ways to know it, the best
// first. Which ones a kernel allows is found by trying.
type end struct {
	name string
	ways []way
	lack string // what is lost where none works

	way      int // the one that was loaded last; len(ways) if none could be
	programs map[string]*ebpf.Program
	used     bool    // they have been attached
	why      []error // why the ways before it did not work
}

// way is programs that together serve an end.
type way struct {
	needs    string   // the capability that it stands for, as doctor calls it
	programs []string // all attached, or none; those of protocols that the kernel lacks are left out
	// packets are for AF_PACKET, and no reason to do without the others.
	packets []string
}

// wanted lists what this sensor has to know beyond who makes and who binds
// sockets, which have one way.
func (s *Sensor) wanted() []*end {
	const inherited = "a socket that a worker inherited stays its maker's"
	ends := []*end{
		{
			// The tracepoint comes too late for the first packet.
			name: "who sends", lack: inherited,
			ways: []way{
				{needs: "fentry", programs: []string{"inet_sendmsg", "inet6_sendmsg"}, packets: []string{"packet_sendmsg"}},
				{needs: "sock_length", programs: []string{"sock_send_length"}},
			},
		},
		{
			// The tracepoint knows who received, of all that wait for it.
			name: "who receives", lack: inherited,
			ways: []way{
				{needs: "sock_length", programs: []string{"sock_recv_length"}},
				{needs: "fentry", programs: []string{"inet_recvmsg", "inet6_recvmsg"}, packets: []string{"packet_recvmsg"}},
			},
		},
	}
	if s.table {
		// First, because nothing is kept before it is attached.
		ends = append([]*end{{
			name: "when sockets are freed", lack: "only sockets that were bound since the start have owners",
			ways: []way{
				{needs: "fentry", programs: []string{"inet_sock_destruct"}, packets: []string{"packet_sock_destruct"}},
				{needs: "cgroup_sock", programs: []string{"tcp_destroy_sock", "sock_release"}},
			},
		}}, ends...)
	}
	return ends
}

// loadEnds loads the best way of each end that can be loaded.
func (s *Sensor) loadEnds() {
	s.ends = s.wanted()
	for _, e := range s.ends {
		e.way = -1
		s.loadNext(e)
	}
	s.noSK = s.table && s.ends[0].programs == nil
}

// loadNext loads the next way of e that can be loaded, in place of the last.
func (s *Sensor) loadNext(e *end) {
	for e.way++; e.way < len(e.ways); e.way++ {
		w := e.ways[e.way]
		if s.without(w.needs) || w.needs == "cgroup_sock" && s.cfg.CgroupRoot == "" {
			continue
		}
		err := s.loadWay(e, w)
		if err == nil {
			return
		}
		e.why = append(e.why, err)
	}
	e.close()
}

func (s *Sensor) loadWay(e *end, w way) error {
	e.close()
	e.used = false
	e.programs = map[string]*ebpf.Program{}
	for _, name := range w.programs {
		p, err := s.loadMore(name)
		if errors.Is(err, btf.ErrNotFound) && w.needs == "fentry" {
			continue // this kernel was built without the protocol
		}
		if err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
		e.programs[name] = p
	}
	if len(e.programs) == 0 {
		return fmt.Errorf("load %s: %w", strings.Join(w.programs, ", "), btf.ErrNotFound)
	}
	for _, name := range w.packets {
		if p, err := s.loadMore(name); err == nil {
			e.programs[name] = p
		}
	}
	return nil
}

func (e *end) close() {
	for _, p := range e.programs {
		p.Close()
	}
	e.programs = nil
}

// attachEnds attaches the way of each end, or the next one if the kernel loads
// but does not attach it.
func (s *Sensor) attachEnds() error {
	for _, e := range s.ends {
		if e.used && e.programs != nil {
			// 5.10 attaches no program of fentry a second time.
			if err := s.loadWay(e, e.ways[e.way]); err != nil {
				return err
			}
		}
		for e.programs != nil {
			links, err := s.attachWay(e)
			if err == nil {
				e.used = true
				s.links = append(s.links, links...)
				break
			}
			e.why = append(e.why, err)
			s.loadNext(e)
		}
		if e.programs == nil {
			s.lacks = append(s.lacks, e.lacking())
		}
	}
	s.watchErrors() // of the programs that it came to
	return s.openTable()
}

// openTable lets the table be filled with the sockets whose end is known.
func (s *Sensor) openTable() error {
	if !s.table {
		return nil
	}
	freed := s.ends[0]
	_, packets := freed.programs["packet_sock_destruct"]
	if !packets {
		s.lacks = append(s.lacks, "no socket storage in tracing programs (5.11 has it): packet sockets have no owner")
	}
	err := errors.Join(s.coll.Variables["table_inet"].Set(freed.programs != nil), s.coll.Variables["table_packet"].Set(packets))
	if err != nil {
		return fmt.Errorf("open the table of sockets: %w", err)
	}
	return nil
}

func (s *Sensor) attachWay(e *end) (links []link.Link, err error) {
	packets := e.ways[e.way].packets
	for name, p := range e.programs {
		l, err := s.attach(name, p)
		if err != nil && slices.Contains(packets, name) {
			p.Close()
			delete(e.programs, name)
			continue
		}
		if err != nil {
			for _, l := range links {
				err = errors.Join(err, l.Close())
			}
			return nil, fmt.Errorf("attach %s: %w", name, err)
		}
		links = append(links, l)
	}
	return links, nil
}

// lacking says what is lost without this end.
func (e *end) lacking() string {
	if err := errors.Join(e.why...); err != nil {
		return fmt.Sprintf("%s cannot be watched (%s): %s", e.name, strings.ReplaceAll(err.Error(), "\n", "; "), e.lack)
	}
	return fmt.Sprintf("%s is not watched: %s", e.name, e.lack)
}

// watchErrors follows what the programs could not keep.
func (s *Sensor) watchErrors() {
	var progs []*ebpf.Program
	for _, e := range s.ends {
		for _, p := range e.programs {
			progs = append(progs, p)
		}
	}
	s.errors = counting.NewErrors("owner", s.coll.Maps["errors"], progs,
		"the kernel skipped these uses of sockets: a socket may still have the owner before")
}
