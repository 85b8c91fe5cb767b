package agent

import "time"

// shedder says how much of HTTP is copied, by how full the ring gets and what
// netfate costs: first less of bodies, then fewer requests.
type shedder struct {
	level   int
	changed time.Time
}

// The levels: how many bytes of a message are copied from its head on; from the
// third on one request in two, four and so on is.
const (
	wholeRoom = 16 << 10
	headRoom  = 1 << 10
	maxLevel  = 12
)

// calm is how long nothing may press before more is copied again: so long that
// what comes each few seconds does not go back and forth.
const calm = 10 * time.Second

// keep returns what the present level allows.
func (s *shedder) keep() (room, oneIn uint32) {
	switch s.level {
	case 0:
		return wholeRoom, 1
	case 1:
		return headRoom, 1
	}
	return headRoom, 1 << (s.level - 1)
}

// ring takes how full the ring was when it was read, a tenth of a second after
// the last time. It reports whether the level has changed.
func (s *shedder) ring(now time.Time, waiting, size int) bool {
	switch {
	case waiting > size/2:
		return s.set(now, s.level+1)
	case waiting > size/8:
		s.changed = now // not calm
	case now.Sub(s.changed) > calm:
		return s.set(now, s.level-1)
	}
	return false
}

func (s *shedder) set(now time.Time, level int) bool {
	level = min(max(level, 0), maxLevel)
	s.changed = now
	if level == s.level {
		return false
	}
	s.level = level
	return true
}
