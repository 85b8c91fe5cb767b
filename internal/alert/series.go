package alert

import (
	"math"
	"time"
)

// series is the counts under one key. Times are seconds that were watched.
type series[K comparable, V any] struct {
	key     K
	about   V
	largest uint64 // count that about came with, in this interval
	count   uint64 // of this interval
	fresh   bool   // not rolled yet
	seen    float64

	usual baseline // stands still while an incident is open
	score float64  // evidence that the rate is higher; 0 or more
	rise  run      // since the score left 0
	// before is what was usual when it did: a rise must not be measured by what
	// it has taught already.
	before baseline
	open   *incident

	flaps  int     // incidents that followed another one soon
	ended  float64 // the last one; 0 if there was none
	told   float64 // the last beginning that was told; 0 if none was
	heldOf uint64  // events since then that were not
}

// run is a stretch of intervals.
type run struct {
	start time.Time
	count uint64
	span  float64
}

func (r *run) add(count uint64, now *interval) {
	if r.span == 0 {
		r.start = now.start
	}
	r.count += count
	r.span += now.dt
}

// incident is a series that is not as usual.
type incident struct {
	kind  Kind
	fresh bool // nothing was there before
	told  bool
	whole run
	calm  float64 // evidence that the rate is as usual again; 0 to enoughCalm
	high  float64 // rate, per second, until there was some
	busy  float64 // when there was none the last time

	level   baseline // what is usual within the incident
	further float64  // evidence of a rise above that
	rise    run
}

// quiet reports whether the series may be forgotten.
func (s *series[K, V]) quiet(at float64) bool { return s.open == nil && at-s.seen >= forget }

// roll ends an interval of the series. held counts what is not told.
func (s *series[K, V]) roll(now *interval, held *uint64) (Event[K, V], bool) {
	count, fresh := s.count, s.fresh
	s.count, s.largest, s.fresh = 0, 0, false
	if count > 0 {
		s.seen = now.at
	}
	if s.open != nil {
		return s.goOn(count, now, held)
	}
	if now.learning {
		s.usual.learn(float64(count), now.dt, false)
		return Event[K, V]{}, false
	}
	if fresh {
		s.rise = run{}
		s.rise.add(count, now)
		return s.begin(New, now, held)
	}
	if s.rise.span == 0 {
		s.before = s.usual
	}
	s.score = max(0, s.score+s.before.evidence(float64(count), now.dt))
	if s.score >= enough {
		s.rise.add(count, now)
		s.usual = s.before
		return s.begin(High, now, held)
	}
	s.usual.learn(float64(count), now.dt, true)
	if s.score == 0 {
		s.rise = run{}
		return Event[K, V]{}, false
	}
	s.rise.add(count, now)
	if s.rise.span > halfLife {
		s.before = s.usual // so slow a rise is followed
	}
	return Event[K, V]{}, false
}

// begin opens an incident of what rose.
func (s *series[K, V]) begin(kind Kind, now *interval, held *uint64) (Event[K, V], bool) {
	if s.ended > 0 && now.at-s.ended < calm {
		s.flaps++
	} else {
		s.flaps = 0
	}
	s.open = &incident{kind: kind, fresh: kind == New, whole: s.rise, busy: now.at}
	if s.mayTell(now) {
		return s.tell(now), true
	}
	s.hold(held)
	return Event[K, V]{}, false
}

// goOn is an interval of an open incident.
func (s *series[K, V]) goOn(count uint64, now *interval, held *uint64) (Event[K, V], bool) {
	o := s.open
	if o.calm == 0 {
		o.high = float64(o.whole.count) / o.whole.span
	}
	o.whole.add(count, now)
	// No more than is enough: what comes back must not be outweighed by silence.
	o.calm = min(enoughCalm, max(0, o.calm+s.usual.relief(float64(count), now.dt, o.high)))
	if o.calm == 0 {
		o.busy = now.at
	}
	risen := o.risen(count, now)
	switch {
	case s.isOver(now):
		return s.end(now)
	case !o.told && count > 0 && s.mayTell(now):
		s.heldOf-- // this one is told now
		*held--
		return s.tell(now), true
	case risen && o.told && s.mayTell(now):
		o.kind, o.whole = High, o.rise
		o.restart()
		return s.tell(now), true
	case risen:
		o.restart()
		s.hold(held)
	}
	return Event[K, V]{}, false
}

// risen reports whether the incident became worse than it was.
func (o *incident) risen(count uint64, now *interval) bool {
	if o.level.t < settle {
		o.level.learn(float64(count), now.dt, false)
		return false
	}
	if o.further = max(0, o.further+o.level.evidence(float64(count), now.dt)); o.further == 0 {
		o.rise = run{}
	} else {
		o.rise.add(count, now)
	}
	if o.further >= enough {
		return true
	}
	o.level.learn(float64(count), now.dt, true)
	return false
}

// restart learns anew what is usual within the incident.
func (o *incident) restart() { o.level, o.further, o.rise = baseline{}, 0, run{} }

// isOver reports whether the incident is: nothing comes where nothing did, or no
// more than is usual, for long enough.
func (s *series[K, V]) isOver(now *interval) bool {
	o := s.open
	wait := math.Ldexp(hold, min(s.flaps, maxDouble))
	silent := now.at - s.seen
	if o.fresh {
		return silent >= wait
	}
	return o.calm >= enoughCalm && now.at-o.busy >= wait
}

func (s *series[K, V]) end(now *interval) (Event[K, V], bool) {
	o := s.open
	e := s.event(Over)
	s.open, s.score, s.rise, s.ended = nil, 0, run{}, now.at
	if o.told {
		s.heldOf = 0
	}
	return e, o.told
}

// mayTell reports whether enough time has passed since the last alert.
func (s *series[K, V]) mayTell(now *interval) bool {
	return s.told == 0 || now.at-s.told >= minBetween
}

func (s *series[K, V]) hold(held *uint64) {
	s.heldOf++
	*held++
}

func (s *series[K, V]) tell(now *interval) Event[K, V] {
	s.open.told, s.told = true, now.at
	e := s.event(s.open.kind)
	s.heldOf = 0
	return e
}

func (s *series[K, V]) event(kind Kind) Event[K, V] {
	o := s.open
	return Event[K, V]{
		Key: s.key, About: s.about, Kind: kind, Start: o.whole.start, Count: o.whole.count, Span: seconds(o.whole.span),
		Usual: s.usual.n, UsualSpan: seconds(s.usual.t), Held: s.heldOf,
	}
}

// seconds is a duration, the longest if there is none so long.
func seconds(s float64) time.Duration {
	if s >= math.MaxInt64/1e9 {
		return math.MaxInt64
	}
	return time.Duration(s * 1e9)
}
