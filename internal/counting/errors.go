package counting

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Site is a place in the programs that could not keep something; the numbers
// are those of enum site in bpf/lib/abi.h.
type Site uint32

// The sites.
const (
	TableFull   Site = iota // buffers that went into the remainder
	Lost                    // packets counted nowhere else
	RingFull                // samples that found no room
	Read                    // headers that could not be read
	OwnerCreate             // sockets whose owner could not be kept
	ProcessKeep             // processes that could not be kept
	BoundKeep               // bound addresses that could not be kept
	Stack                   // stacks that could not be taken
	Cache                   // CPUs beyond the cache
	Conn                    // connections that the table had no room for
	ConnRing                // changes of connections that the ring had no room for
	Packets                 // copied packets that the ring had no room for
	Talk                    // connections that socket storage had no room for
	Plain                   // calls of TLS libraries whose bytes could not be read
	Call                    // calls of TLS libraries whose beginning is not known
	URLFull                 // requests counted in the remainder: the table was full
	URLCut                  // requests counted there: in pieces, or too long to tell
	URLLost                 // requests counted nowhere
	URLMany                 // packets with more in them than is looked at
	URLOrder                // packets too far out of order to be looked at
	URLTwice                // connections that both ends may count
	Frame                   // packets that the ring had no room for
	sites
)

// Loss is a number of things that could not be kept, since the last reading.
type Loss struct {
	Place, Reason, Effect string
	Count                 uint64
}

// text says, for each site, the reason of the loss and what it spoils.
func (s Site) text() (reason, effect string) {
	switch s {
	case TableFull:
		return "table full", "these packets are counted, but without addresses, as other"
	case Lost:
		return "remainder full", "these packets are counted nowhere: totals are too low by as many"
	case RingFull:
		return "ring full", "these events are counted, but not shown one by one"
	case Read:
		return "header unreadable", "these packets are counted without ports or head"
	case OwnerCreate:
		return "no room in socket storage, or in the table of sockets", "the owner of these sockets is found by address only"
	case ProcessKeep:
		return "process table full", "the names of these processes may be missing"
	case BoundKeep:
		return "bound-address table full", "packets for these sockets that no socket got have no owner"
	case Stack:
		return "stack not taken", "these samples have no stack"
	case Cache:
		return "CPU beyond the cache", "these buffers are counted nowhere: a bug of netfate's"
	case Conn:
		return "connection table full", "these connections are told when they close, without their beginning"
	case Packets:
		return "ring full", "what these packets say is not read: queries or requests may be missing, or look unanswered"
	case Talk:
		return "no room in socket storage", "requests of these connections are not told, unless there is room at a later packet"
	case Plain:
		return "memory unreadable", "what these calls of TLS libraries sent or received is not read: requests may be missing, or look unanswered"
	case Call:
		return "no beginning", "these calls of TLS libraries had begun before they were watched, or there were too many at once: what they brought is not read"
	case URLFull:
		return "table full", "these requests are counted, but without host and path, as other"
	case URLCut:
		return "head in pieces, or too long", "these requests are counted, but without host and path, as other"
	case URLLost:
		return "remainder full", "these requests are counted nowhere: totals are too low by as many"
	case URLMany:
		return "too much in one packet", "requests behind that in these packets are not counted"
	case URLOrder:
		return "packets too far out of order", "requests in what was missing are not counted"
	case URLTwice:
		return "no room for first packets", "if the other end of these connections is on this host, their requests count twice"
	case Frame:
		return "ring full", "these packets are counted, and missing in the capture"
	case ConnRing:
		return "ring full", "these changes of connections are not told"
	}
	return fmt.Sprintf("site %d", s), ""
}

// Errors reads what a sensor's programs could not keep. It belongs to one
// goroutine; the zero value is not ready, see NewErrors.
type Errors struct {
	place string
	m     *ebpf.Map
	last  [sites]uint64
	progs []*ebpf.Program
	miss  []uint64
	skips string // what it spoils if the kernel skips a program
}

// Skipped is what it spoils when the kernel skips a program that counts.
const Skipped = "the kernel skipped these events: totals are too low by as many buffers"

// NewErrors reads the errors map m and the recursion misses of progs. place
// names the sensor in what it reports, skips says what those misses spoil.
func NewErrors(place string, m *ebpf.Map, progs []*ebpf.Program, skips string) *Errors {
	return &Errors{place: place, m: m, progs: progs, miss: make([]uint64, len(progs)), skips: skips}
}

// Since returns what was lost since the last call; nothing where there was
// nothing.
func (e *Errors) Since() ([]Loss, error) {
	var losses []Loss
	for s := range sites {
		var now uint64
		if err := e.m.Lookup(uint32(s), &now); err != nil {
			return losses, fmt.Errorf("read the errors of %s: %w", e.place, err)
		}
		if n := now - e.last[s]; n > 0 {
			reason, effect := s.text()
			losses = append(losses, Loss{Place: e.place, Reason: reason, Effect: effect, Count: n})
		}
		e.last[s] = now
	}
	return e.misses(losses)
}

// misses adds the events that the kernel skipped because the same program was
// running on that CPU already.
func (e *Errors) misses(losses []Loss) ([]Loss, error) {
	for i, p := range e.progs {
		stats, err := p.Stats()
		if err != nil {
			return losses, fmt.Errorf("read the statistics of %s: %w", e.place, err)
		}
		if n := stats.RecursionMisses - e.miss[i]; n > 0 {
			losses = append(losses, Loss{
				Place: e.place, Reason: "recursion", Count: n,
				Effect: e.skips,
			})
		}
		e.miss[i] = stats.RecursionMisses
	}
	return losses, nil
}
