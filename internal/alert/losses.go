package alert

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/record"
)

// Config says what Losses alerts on.
type Config struct {
	Learn     time.Duration // what happens in this time is usual
	MaxSeries int           // 0 is DefaultMaxSeries
	All       bool          // benign drops too
	// Split says that an interval may come in several batches, as in recordings. It
	// is then over when the next one begins, or at Close.
	Split bool
	// Why explains a drop in one line, More is the command that shows more of it, and
	// Books that which shows the books of a namespace. Each may be nil.
	Why, More func(record.Drop) string
	Books     func(netns uint32) string
}

// place is what losses are told apart by.
type place struct {
	reason, subsystem, function string
	netns                       uint32
	ifname                      string
}

// rest is the reason of the series of all places that have no room.
const rest = "~other"

// Losses makes alerts of the drops in batches, and of what their ledger leaves over. It is for one goroutine; see
// NewLosses.
type Losses struct {
	cfg        Config
	detector   *Detector[place, record.Drop]
	rests      rests
	start, end time.Time // of the interval that is not over
	isOpen     bool
	told       uint64 // excluded packets
}

// NewLosses returns Losses that have seen nothing.
func NewLosses(cfg Config) *Losses {
	return &Losses{cfg: cfg, detector: NewDetector[place, record.Drop](cfg.Learn, cfg.MaxSeries, place{reason: rest})}
}

// Batch takes the drops of b, in which it changes nothing, and returns what they
// and all before them give rise to.
func (l *Losses) Batch(b *record.Batch) []record.Alert {
	var alerts []record.Alert
	if l.isOpen && !(b.Start.Equal(l.start) && b.End.Equal(l.end)) {
		alerts = l.Close()
	}
	l.start, l.end, l.isOpen = b.Start, b.End, true
	for i := range b.Drops {
		d := &b.Drops[i]
		if d.Verdict == record.Benign && !l.cfg.All {
			continue
		}
		l.detector.Add(placeOf(d), d.Packets, aboutOf(d))
	}
	for i := range b.Ledger {
		l.rests.add(&b.Ledger[i])
	}
	if !l.cfg.Split {
		alerts = append(alerts, l.Close()...)
	}
	return alerts
}

// Close ends the interval that is not over and returns its alerts.
func (l *Losses) Close() []record.Alert {
	if !l.isOpen {
		return nil
	}
	l.isOpen = false
	l.watchRests(l.end.Sub(l.start))
	var alerts []record.Alert
	for _, e := range l.detector.Roll(l.start, l.end) {
		alerts = append(alerts, l.alert(&e))
	}
	slices.SortStableFunc(alerts, func(a, b record.Alert) int {
		return cmp.Compare(slices.Index(record.Verdicts(), a.Verdict), slices.Index(record.Verdicts(), b.Verdict))
	})
	return alerts
}

// Learning reports whether the time to learn is not over.
func (l *Losses) Learning() bool { return l.detector.Learning() }

// Held returns how many alerts were held back and not told later either.
func (l *Losses) Held() uint64 { return l.detector.Held() }

// Lost returns what had no room since the last call, nil if all had.
func (l *Losses) Lost() (lost []record.Lost) {
	tell := func(n, told *uint64, place, effect string) {
		if *n > *told {
			lost = append(lost, record.Lost{Time: l.end, Place: place, Reason: "full", Count: *n - *told, Effect: effect})
			*told = *n
		}
	}
	excluded := l.detector.Excluded()
	tell(&excluded, &l.told, "alert_series", "packets lost at places that have no room are watched as one, "+rest)
	tell(&l.rests.excluded, &l.rests.told, "alert_rests", "packets that are left over at stations that have no room are not watched")
	return lost
}

func placeOf(d *record.Drop) place {
	function, _, _ := strings.Cut(d.Location, "+")
	return place{reason: d.Reason, subsystem: d.Subsystem, function: function, netns: d.NetNS, ifname: d.IfName}
}

// aboutOf is the drop without what is large.
func aboutOf(d *record.Drop) record.Drop {
	about := *d
	about.Stack, about.Packet = nil, nil
	return about
}

func (l *Losses) alert(e *Event[place, record.Drop]) record.Alert {
	a := record.Alert{
		Time: l.end, Host: e.About.Host, Event: nameOf(e.Kind), Verdict: e.About.Verdict,
		Reason: e.Key.reason, Subsystem: e.Key.subsystem, Location: e.Key.function,
		NetNS: e.Key.netns, NetNSName: e.About.NetNSName, IfName: e.Key.ifname,
		Start: e.Start, Packets: e.Count, Micros: micros(e.Span),
		UsualPackets: uint64(math.Round(e.Usual)), UsualMicros: micros(e.UsualSpan), Held: e.Held,
	}
	if e.Key.reason == rest {
		a.NetNSName = ""
		return a
	}
	if e.Key.reason == unexplained {
		a.Why = "what came here and what went on differ more and more: packets are lost where nothing looks, wait unread in sockets, or pass by the counters"
		if l.cfg.Books != nil {
			a.Command = l.cfg.Books(e.Key.netns)
		}
		return a
	}
	if l.cfg.Why != nil {
		a.Why = l.cfg.Why(e.About)
	}
	if l.cfg.More != nil {
		a.Command = l.cfg.More(e.About)
	}
	return a
}

func micros(d time.Duration) uint64 { return uint64(d.Microseconds()) }

func nameOf(k Kind) string {
	switch k {
	case New:
		return record.AlertNew
	case High:
		return record.AlertHigh
	}
	return record.AlertOver
}
