package alert

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// unexplained is the reason of alerts on what the ledger cannot explain.
const unexplained = "~unexplained"

const (
	// stays is how many intervals a remainder has to stay for: what passes while
	// counters are read is one in one interval, and none in the next.
	stays = 3
	// fewRests is how large, in packets, and share which part of what came a
	// remainder may become within a half-life without being counted.
	fewRests = 20
	share    = 0.001
	// maxRests bounds the stations whose remainders are followed.
	maxRests = 4096
)

// stationKey is a station of the ledger, in one book.
type stationKey struct {
	netns     uint32
	ifname    string
	station   string
	direction record.Direction
}

// leftover is the remainder of a station. All but what came in this interval fades with
// the half-life that series have, so that what comes once an hour never adds up.
type leftover struct {
	about      record.Drop
	came, left float64 // in this interval
	skew       float64 // seconds
	all        float64 // came
	sum        float64 // of remainders
	last       [stays]float64
	high, low  float64 // counted already
}

// rests finds remainders that grow and stay. They are counted as they grow, either
// way, so that a series of them is like one of losses.
type rests struct {
	known    map[stationKey]*leftover
	excluded uint64 // packets
	told     uint64 // of these
}

// add takes in a line of the ledger.
func (r *rests) add(e *record.Entry) {
	if e.Scope == record.HostScope || e.Station == "total" || e.Line != record.Came && e.Line != record.Remainder {
		return
	}
	k := stationKey{netns: e.NetNS, station: e.Station, direction: e.Direction}
	if e.Scope == record.InterfaceScope {
		k.ifname = e.IfName
	}
	s := r.known[k]
	if s == nil {
		if len(r.known) >= maxRests {
			if e.Line == record.Remainder {
				r.excluded += uint64(max(e.Packets, -e.Packets))
			}
			return
		}
		if r.known == nil {
			r.known = map[stationKey]*leftover{}
		}
		s = &leftover{}
		r.known[k] = s
	}
	s.about = record.Drop{Endpoints: record.Endpoints{Host: e.Host, NetNSName: e.NetNSName}, Verdict: record.Loss}
	s.skew = max(s.skew, float64(e.SkewMicros)/1e6)
	if e.Line == record.Came {
		s.came += float64(e.Packets)
	} else {
		s.left += float64(e.Packets)
	}
}

// roll ends an interval of so many seconds, and tells which remainders grew by how
// much.
func (r *rests) roll(dt float64, grew func(stationKey, uint64, *leftover)) {
	if dt <= 0 {
		return
	}
	keys := make([]stationKey, 0, len(r.known))
	for k := range r.known {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareStations) // so that alerts have an order
	for _, k := range keys {
		s := r.known[k]
		if n := s.roll(dt); n > 0 {
			grew(k, n, s)
		}
		if s.all < 1 && math.Abs(s.sum) < 1 && s.high < 1 && s.low > -1 {
			delete(r.known, k)
		}
	}
}

// roll returns by how much the remainder grew since it was counted the last time.
func (s *leftover) roll(dt float64) uint64 {
	fade := math.Exp2(-dt / halfLife)
	s.all = s.all*fade + s.came
	s.sum = s.sum*fade + s.left
	s.high, s.low = s.high*fade, s.low*fade
	for i := range s.last {
		s.last[i] *= fade
	}
	copy(s.last[1:], s.last[:stays-1])
	s.last[0] = s.sum
	meanwhile := 2 * s.came * min(s.skew/dt, 1)
	slack := max(fewRests, share*s.all, meanwhile)
	s.came, s.left, s.skew = 0, 0, 0
	least, most := slices.Min(s.last[:]), slices.Max(s.last[:])
	var grown float64
	switch {
	case least > s.high+slack:
		grown, s.high = least-s.high, least
	case most < s.low-slack:
		grown, s.low = s.low-most, most
	}
	return uint64(grown)
}

func compareStations(a, b stationKey) int {
	return cmp.Or(cmp.Compare(a.netns, b.netns), cmp.Compare(a.ifname, b.ifname), cmp.Compare(a.direction, b.direction), cmp.Compare(a.station, b.station))
}

// watchRests counts the remainders that grew in the interval that is over.
func (l *Losses) watchRests(dt time.Duration) {
	l.rests.roll(dt.Seconds(), func(k stationKey, n uint64, s *leftover) {
		p := place{reason: unexplained, function: string(k.direction) + " " + k.station, netns: k.netns, ifname: k.ifname}
		l.detector.Add(p, n, s.about)
	})
}
